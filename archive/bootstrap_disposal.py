"""What assesses, lists and destroys the studies of an archive, wired from its parts; must hold no rule of its own."""

from __future__ import annotations

from archive.opening import Core, stores_of
from archive.services.assess import Assessor, rules_of
from archive.services.certificates import Signer
from archive.services.destroy import Destruction
from archive.services.disposal import Disposals


def assessor_of(core: Core) -> Assessor:
    """Return what assesses an archive's studies, by the rules of its sites."""
    return Assessor(core.database, rules_of(core.settings.sites), core.ledger.clock)


def disposals_of(core: Core) -> Disposals:
    """Return the disposal lists of an archive."""
    settings = core.settings
    sites = {site.name: site for site in settings.sites}
    return Disposals(core.ledger, assessor_of(core), sites, settings.disposal.waiting_days)


def destruction_of(core: Core, *, accept_damaged: bool = False) -> Destruction:
    """Return what destroys the lists of an archive."""
    settings = core.settings
    stores = stores_of(core)
    signer = Signer(core.disk, settings.signing_key)
    return Destruction(
        disposals_of(core),
        stores,
        signer,
        settings.certificates_folder,
        settings.dicom.ae_title,
        accept_damaged=accept_damaged,
    )
