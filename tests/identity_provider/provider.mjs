// A real OpenID provider (npm oidc-provider) in the shape of Pro Santé Connect, for tests: mutual TLS at the token
// endpoint, certificate-bound tokens, introspection, and professionals who are made up.
// Arguments: a JSON file with port, key, certificate, ca, redirect_uri, archive_dn, reader_dn, audience, accounts.
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const config = JSON.parse(readFileSync(process.argv[2], "utf8"));
const require = createRequire(join(process.env.PROVIDER_MODULES, "package.json"));
const { Provider } = await import(pathToFileURL(require.resolve("oidc-provider")).href);

const PROFESSIONAL = ["SubjectNameID", "SubjectRefPro", "SubjectRole", "family_name", "given_name"];
const certificateOf = (ctx) => ctx.socket.getPeerX509Certificate();
const nameOf = (ctx) => ctx.socket.getPeerCertificate()?.subject?.CN;
const server = (format, audience) => ({
  scope: "openid", audience, accessTokenFormat: format, accessTokenTTL: 600, jwt: { sign: { alg: "RS256" } },
});

const client = (client_id, dn, more) => ({
  client_id,
  token_endpoint_auth_method: "tls_client_auth",
  tls_client_auth_subject_dn: dn,
  tls_client_certificate_bound_access_tokens: true,
  ...more,
});
const coming = { redirect_uris: [config.redirect_uri], grant_types: ["authorization_code"], response_types: ["code"] };
const asking = { redirect_uris: [], response_types: [], grant_types: ["urn:test:as"] };

const provider = new Provider(`https://localhost:${config.port}`, {
  clients: [
    client("archive", config.archive_dn, coming),
    client("reader", config.reader_dn, asking),
    { client_id: "unbound", client_secret: config.secret, ...asking },
    { client_id: "archive-by-secret", client_secret: config.secret, ...coming },
    {
      client_id: "archive-by-key", token_endpoint_auth_method: "private_key_jwt", jwks: { keys: [config.client_jwk] },
      token_endpoint_auth_signing_alg: "ES256", ...coming,
    },
  ],
  async findAccount(_ctx, id) {
    const told = config.accounts[id];
    return told && { accountId: id, claims: async () => ({ sub: id, ...told }) };
  },
  claims: { openid: ["sub"], scope_all: PROFESSIONAL },
  scopes: ["openid", "scope_all"],
  conformIdTokenClaims: true,
  acrValues: ["eidas1"],
  clientAuthMethods: ["tls_client_auth", "client_secret_basic", "private_key_jwt", "none"],
  cookies: { keys: ["made up"] },
  pkce: { required: () => true },
  extraTokenClaims: async (_ctx, token) => config.accounts[token.accountId],
  ttl: { AccessToken: 600, AuthorizationCode: 60, Grant: 600, IdToken: 600, Interaction: 600, Session: 600 },
  features: {
    devInteractions: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    mTLS: {
      enabled: true,
      certificateBoundAccessTokens: true,
      tlsClientAuth: true,
      getCertificate: certificateOf,
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      certificateSubjectMatches: (ctx, _property, expected) => `CN=${nameOf(ctx)}` === expected,
    },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: async (_ctx, resource) =>
        resource.endsWith("/jwt") ? server("jwt", config.audience) : server("opaque", resource),
    },
  },
});

// A grant for tests: the token of a person, as an application of theirs would hold it.
provider.registerGrantType("urn:test:as", async (ctx) => {
  const { account, resource, lasts } = ctx.oidc.params;
  const format = resource.endsWith("/jwt") ? "jwt" : "opaque";
  const audience = format === "jwt" ? config.audience : resource;
  const token = new provider.AccessToken({
    accountId: account, client: ctx.oidc.client, scope: "openid", gty: "as", expiresIn: Number(lasts),
  });
  token.resourceServer = { ...server(format, audience), identifier: () => audience, scopes: new Set(["openid"]) };
  const certificate = certificateOf(ctx);
  if (certificate) token.setThumbprint("x5t", certificate);
  ctx.body = { access_token: await token.save(), token_type: "Bearer", expires_in: token.expiration };
}, ["account", "resource", "lasts"]);

provider.on("server_error", (_ctx, error) => console.error(error));
createServer(
  {
    key: readFileSync(config.key), cert: readFileSync(config.certificate), ca: readFileSync(config.ca),
    requestCert: true, rejectUnauthorized: false,
  },
  provider.callback(),
).listen(config.port, "127.0.0.1", () => console.log("READY"));
