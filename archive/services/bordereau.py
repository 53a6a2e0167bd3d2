"""The bordereau d'élimination as CSV and PDF, from what it is told alone; must not name a patient.

The columns are those that archives services ask for; the boxes are for those whose signature the law asks for: the
director and the DIM physician (R.1112-7 CSP), the visa of the Archives (code du patrimoine R.212-14) for establishments
that are public or of collective interest. What was refused or sent back stays on the paper, struck, and is not counted.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from archive.services.paper import Box, Column, Grid, Paper, Row, Section, clean, draw
from retention_rules.approvals import (
    ARCHIVES_OFFICER as _ARCHIVES,
    DIM_PHYSICIAN as _DIM,
    DIRECTOR as _DIRECTOR,
    PRACTITIONER as _PRACTITIONER,
    needed_offices,
)

NOT_COUNTED: Final = frozenset({"refused", "sent_back", "cancelled"})
"""States of a line that is not, or no longer, to be destroyed."""

_TITLES: Final = {
    _DIRECTOR: "Le directeur de l'établissement",
    _DIM: "Le médecin responsable de l'information médicale (DIM), pour avis",
    _ARCHIVES: "Visa du directeur des Archives départementales",
    _PRACTITIONER: "Le praticien responsable",
}
_KINDS: Final = {
    "public": "établissement public de santé",
    "espic": "établissement de santé privé d'intérêt collectif",
    "private_clinic": "établissement de santé privé",
    "practice": "cabinet libéral",
}
_VISA: Final = (
    "Code de la santé publique, article R.1112-7 : décision du directeur, après avis du médecin responsable de "
    "l'information médicale. Code du patrimoine, articles L.212-2 et R.212-14 : toute élimination est interdite sans "
    "le visa des Archives. À signer en deux exemplaires originaux ; celui qui revient visé est conservé."
)
_BASES: Final = {
    "public": _VISA,
    "espic": _VISA,
    "private_clinic": "Code de la santé publique, article R.1112-7 : décision du directeur, après avis du médecin "
    "responsable de l'information médicale.",
    "practice": "Décision du praticien responsable des images.",
}
_LINE_STATES: Final = {
    "listed": "proposée",
    "refused": "refusée",
    "sent_back": "renvoyée",
    "destroying": "destruction en cours",
    "destroyed": "détruite",
    "cancelled": "annulée",
}
_LIST_STATES: Final = {
    "listed": "proposé, à signer",
    "approved": "approuvé, délai en cours",
    "destroying": "destruction en cours",
    "destroyed": "exécuté et attesté",
    "cancelled": "annulé",
}
_MODALITIES: Final = {
    "CR": "radiographie",
    "CT": "scanner",
    "DX": "radiographie",
    "ECG": "électrocardiogramme",
    "ES": "endoscopie",
    "IO": "radiographie dentaire",
    "KO": "sélection d'objets",
    "MG": "mammographie",
    "MR": "imagerie par résonance magnétique",
    "NM": "scintigraphie",
    "OT": "autre",
    "PR": "état de présentation",
    "PT": "tomographie par émission de positons",
    "PX": "radiographie panoramique",
    "RF": "radioscopie",
    "SR": "compte rendu structuré",
    "US": "échographie",
    "XA": "angiographie",
    "XC": "photographie",
}
_FORMULA_SIGNS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


@dataclass(frozen=True, slots=True)
class BordereauLine:
    """One study; ``period`` is the DUA in words, ``state`` is listed, refused, sent_back, destroying or destroyed."""

    number: int
    study_instance_uid: str
    patient_id: str
    exam_on: date
    modalities: tuple[str, ...]
    rule_id: str
    citation: str
    period: str
    eligible_on: date
    instances: int
    size_bytes: int
    state: str
    remark: str

    @property
    def is_counted(self) -> bool:
        """Tell whether the study is among those to destroy, or destroyed."""
        return self.state not in NOT_COUNTED


@dataclass(frozen=True, slots=True)
class Signature:
    """Who signs for an office (a role of the accounts); ``at`` None: not yet, the box is left to a pen."""

    office: str
    full_name: str
    account: str
    at: datetime | None
    reference: str | None


@dataclass(frozen=True, slots=True)
class Bordereau:
    """A list of studies to eliminate; ``site_kind`` is public, espic, private_clinic or practice."""

    list_id: str
    site: str
    finess: str | None
    site_kind: str
    proposed_at: datetime
    proposed_by: str
    as_of: date
    waiting_until: date | None
    state: str
    lines: tuple[BordereauLine, ...]
    signatures: tuple[Signature, ...]


# ---- CSV -----------------------------------------------------------------------------------------------------------

_CSV_HEADINGS: Final = (
    "Bordereau;Établissement;FINESS;N°;Étude (Study Instance UID);Identifiant patient;Date d'examen;Modalités;"
    "Règle;Texte;DUA;Éliminable à partir du;Objets;Octets;État;Observations"
).split(";")


def csv_of(bordereau: Bordereau) -> bytes:
    """Return one line a study, as French spreadsheets open it: UTF-8 with BOM, semicolons, CRLF, dates 31/12/2025.

    A cell that a spreadsheet would take for a formula has an apostrophe in front.
    """
    file = io.StringIO()
    writer = csv.writer(file, delimiter=";", lineterminator="\r\n")
    writer.writerow(_CSV_HEADINGS)
    for line in bordereau.lines:
        writer.writerow(map(_csv_cell, _csv_cells(bordereau, line)))
    return file.getvalue().encode("utf-8-sig")


def _csv_cells(bordereau: Bordereau, line: BordereauLine) -> tuple[str, ...]:
    return (
        bordereau.list_id,
        bordereau.site,
        bordereau.finess or "",
        str(line.number),
        line.study_instance_uid,
        line.patient_id,
        _day(line.exam_on),
        ", ".join(line.modalities),
        line.rule_id,
        line.citation,
        line.period,
        _day(line.eligible_on),
        str(line.instances),
        str(line.size_bytes),
        _LINE_STATES.get(line.state, line.state),
        line.remark,
    )


def _csv_cell(text: str) -> str:
    # Looked at before and after cleaning: spreadsheets skip blanks in front of a formula.
    cleaned = clean(text).strip()
    return f"'{cleaned}" if text.startswith(_FORMULA_SIGNS) or cleaned.startswith(_FORMULA_SIGNS) else cleaned


# ---- PDF -----------------------------------------------------------------------------------------------------------


def pdf_of(bordereau: Bordereau) -> bytes:
    """Return the paper to sign: the summary and the boxes first, then every study in an annex."""
    paper = Paper(
        title="Bordereau d'élimination",
        reference=f"Bordereau d'élimination n° {bordereau.list_id} – {bordereau.site}",
        facts=_facts(bordereau),
        sections=(
            Section("Archives proposées à l'élimination", grid=_summary(bordereau), text=_uncounted(bordereau)),
            Section("Signatures", text=_BASES[bordereau.site_kind], boxes=tuple(_boxes(bordereau))),
            Section("Annexe : liste des études", grid=_annex(bordereau.lines), is_on_new_page=True),
        ),
    )
    return draw(paper)


def _facts(bordereau: Bordereau) -> tuple[tuple[str, str], ...]:
    waiting = bordereau.waiting_until
    return (
        ("Établissement", bordereau.site),
        ("FINESS", bordereau.finess or "non renseigné"),
        ("Nature", _KINDS[bordereau.site_kind]),
        ("Support", "numérique (images médicales DICOM) ; métrage linéaire sans objet"),
        ("Bordereau n°", bordereau.list_id),
        ("Proposé", f"le {_moment(bordereau.proposed_at)} par {bordereau.proposed_by}"),
        ("Situation arrêtée au", _day(bordereau.as_of)),
        ("État", _LIST_STATES.get(bordereau.state, bordereau.state)
         + ("" if waiting is None else f" ; aucune destruction avant le {_day(waiting)}")),
    )  # fmt: skip


def _uncounted(bordereau: Bordereau) -> str:
    left_out = sum(not line.is_counted for line in bordereau.lines)
    dua = "DUA : durée d'utilité administrative."
    if not left_out:
        return dua
    what = "étude refusée, renvoyée ou annulée n'est pas comptée : elle est barrée"
    whats = "études refusées, renvoyées ou annulées ne sont pas comptées : elles sont barrées"
    return f"{dua} {_number(left_out)} {whats if left_out > 1 else what} dans l'annexe."


def _summary(bordereau: Bordereau) -> Grid:
    """Return one row for each rule and group of modalities, and the total."""
    columns = [
        Column("Service versant", 14),
        Column("Typologie", 20),
        Column("Dates extrêmes", 10),
        Column("DUA et texte", 22),
        Column("Métrage linéaire ou volume", 11, is_number=True),
        Column("Observations (service)", 16),
    ]
    if has_visa := _ARCHIVES in needed_offices(bordereau.site_kind):
        columns.append(Column("Observations (Archives départementales)", 18))
    counted = [line for line in bordereau.lines if line.is_counted]
    groups: dict[tuple[str, ...], list[BordereauLine]] = {}
    for line in counted:
        groups.setdefault((line.rule_id, line.citation, line.period, *_modalities(line)), []).append(line)
    rows = [_summary_cells(bordereau.site, groups[key]) for key in sorted(groups)]
    rows.append(("Total", "", "", "", _volume(counted), ""))
    visa = ("",) if has_visa else ()
    totals = [False] * (len(rows) - 1) + [True]
    return Grid(
        tuple(columns), tuple(Row((*row, *visa), is_total=last) for row, last in zip(rows, totals, strict=True))
    )


def _summary_cells(site: str, lines: Sequence[BordereauLine]) -> tuple[str, ...]:
    first = lines[0]
    exams = [line.exam_on for line in lines]
    names = ", ".join(f"{_MODALITIES[each]} ({each})" if each in _MODALITIES else each for each in _modalities(first))
    return (
        site,
        f"Examens d'imagerie : {names or 'modalité inconnue'}",
        _span(exams),
        f"{clean(first.period)}\n{clean(first.citation)}\n(règle {clean(first.rule_id)})",
        _volume(lines),
        _eligible(min(line.eligible_on for line in lines), max(line.eligible_on for line in lines)),
    )


def _annex(lines: Sequence[BordereauLine]) -> Grid:
    columns = (
        Column("N°", 4, is_number=True),
        Column("Étude (Study Instance UID)", 29),
        Column("Identifiant patient", 11),
        Column("Date d'examen", 8.5),
        Column("Modalités", 7),
        Column("DUA et texte", 37),
        Column("Éliminable à partir du", 8.5),
        Column("Objets", 6, is_number=True),
        Column("Volume", 7.5, is_number=True),
        Column("État, observations", 16, is_never_struck=True),
    )
    return Grid(columns, tuple(Row(_annex_cells(line), is_struck=not line.is_counted) for line in lines))


def _annex_cells(line: BordereauLine) -> tuple[str, ...]:
    state = _LINE_STATES.get(line.state, line.state)
    return (
        str(line.number),
        line.study_instance_uid,
        clean(line.patient_id),
        _day(line.exam_on),
        clean(", ".join(line.modalities)),
        f"{clean(line.period)}\n{clean(line.citation)}",
        _day(line.eligible_on),
        _number(line.instances),
        _size(line.size_bytes),
        f"{state} : {clean(line.remark)}" if line.remark else state,
    )


def _boxes(bordereau: Bordereau) -> Iterable[Box]:
    """Yield a box for every office that must sign, then for whoever signed besides: no signature is left out."""
    needed = needed_offices(bordereau.site_kind)
    for office in needed:
        signed = [each for each in bordereau.signatures if each.office == office]
        yield from map(_box, signed or [Signature(office, "", "", None, None)])
    yield from (_box(each) for each in bordereau.signatures if each.office not in needed)


def _box(signature: Signature) -> Box:
    name = signature.full_name
    if signature.at is not None and signature.account:
        name = f"{name} (compte {signature.account})"
    fields = [("Nom", name), ("Date", "" if signature.at is None else _moment(signature.at))]
    if signature.office == _ARCHIVES or signature.reference is not None:
        fields.append(("Référence", signature.reference or ""))
    return Box(_TITLES.get(signature.office, signature.office), tuple(fields), "Signature et cachet")


# ---- words ---------------------------------------------------------------------------------------------------------


def _modalities(line: BordereauLine) -> tuple[str, ...]:
    return tuple(sorted({clean(each) for each in line.modalities}))


def _day(day: date) -> str:
    return f"{day.day:02}/{day.month:02}/{day.year:04}"


def _moment(at: datetime) -> str:
    return f"{_day(at)} à {at:%H:%M} {at.tzname() or ''}".rstrip()


def _span(days: Sequence[date]) -> str:
    first, last = min(days), max(days)
    return _day(first) if first == last else f"{_day(first)} – {_day(last)}"


def _eligible(first: date, last: date) -> str:
    if first == last:
        return f"DUA échue : éliminables depuis le {_day(first)}"
    return f"DUA échue : éliminables depuis le {_day(first)} (première étude) et le {_day(last)} (dernière)"


def _volume(lines: Sequence[BordereauLine]) -> str:
    studies, instances = len(lines), sum(line.instances for line in lines)
    return "\n".join(
        (
            f"{_number(studies)} étude{'s' if studies > 1 else ''}",
            f"{_number(instances)} objet{'s' if instances > 1 else ''}",
            _size(sum(line.size_bytes for line in lines)),
        )
    )


def _size(size_bytes: int) -> str:
    """Return a size in the largest of Go, Mo, ko and octets that it has one of, with the French comma."""
    for unit, size in (("Go", 10**9), ("Mo", 10**6), ("ko", 10**3)):
        if size_bytes >= size:
            return f"{_number(size_bytes // size)},{size_bytes % size * 10 // size} {unit}"
    return f"{size_bytes} octet{'s' if size_bytes > 1 else ''}"


def _number(count: int) -> str:
    return f"{count:,}".replace(",", "\u00a0")
