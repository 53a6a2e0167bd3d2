"""The bordereau: what archives services ask for is on it, nobody is named, hostile text is only text."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from archive.services.bordereau import Bordereau, BordereauLine, Signature, csv_of, pdf_of
from retention_rules.approvals import needed_offices
from tests.pdf import pdf_drawing, pdf_fonts, pdf_pages, pdf_words

LONG_UID = "1.2.840.113619.2.55.3.2831183621.884.1214233333.123.123456789012"
ARTICLE = "Code de la santé publique, article R.1112-7"
PERIOD = "20 ans à compter du dernier séjour ou de la dernière consultation externe"
STRUCK = b".352941 .352941 .352941 RG"
"""The stroke of a struck text; the foot of a page is of the same grey, but only filled."""

DIRECTOR = "Le directeur de l'établissement"
DIM = "Le médecin responsable de l'information médicale (DIM), pour avis"
VISA = "Visa du directeur des Archives départementales"
PRACTITIONER = "Le praticien responsable"
FOR_THE_ARCHIVES = "Observations (Archives départementales)"


def line(number: int = 1, **changes: Any) -> BordereauLine:
    """Return one line, of a scanner of 2003 unless told otherwise."""
    usual = BordereauLine(
        number=number,
        study_instance_uid=f"1.2.3.{number}",
        patient_id=f"IPP{number:05}",
        exam_on=date(2003, 5, 1) + timedelta(days=number),
        modalities=("CT",),
        rule_id="hospital.base",
        citation=ARTICLE,
        period=PERIOD,
        eligible_on=date(2025, 1, 1) + timedelta(days=number),
        instances=600,
        size_bytes=315_000_000,
        state="listed",
        remark="",
    )
    return replace(usual, **changes)


def bordereau(*lines: BordereauLine, **changes: Any) -> Bordereau:
    """Return a list of a public hospital that nobody has signed."""
    usual = Bordereau(
        list_id="2026-0007",
        site="Hôpital de l'Écluse",
        finess="010000024",
        site_kind="public",
        proposed_at=datetime(2026, 3, 2, 9, 5, tzinfo=UTC),
        proposed_by="Noël Ælfric",
        as_of=date(2026, 3, 1),
        waiting_until=None,
        state="listed",
        lines=lines,
        signatures=(),
    )
    return replace(usual, **changes)


def rows_of(data: bytes) -> list[dict[str, str]]:
    """Read a CSV as a spreadsheet in France does."""
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), delimiter=";", strict=True))


# ---- CSV -----------------------------------------------------------------------------------------------------------


def test_a_study_is_one_line_of_the_csv() -> None:
    """Every field of a study is in a column with a French heading, dates and state in French."""
    (row,) = rows_of(csv_of(bordereau(line(modalities=("CT", "SR"), state="refused", remark="À conserver ; cohorte"))))
    assert row == {
        "Bordereau": "2026-0007",
        "Établissement": "Hôpital de l'Écluse",
        "FINESS": "010000024",
        "N°": "1",
        "Étude (Study Instance UID)": "1.2.3.1",
        "Identifiant patient": "IPP00001",
        "Date d'examen": "02/05/2003",
        "Modalités": "CT, SR",
        "Règle": "hospital.base",
        "Texte": ARTICLE,
        "DUA": PERIOD,
        "Éliminable à partir du": "02/01/2025",
        "Objets": "600",
        "Octets": "315000000",
        "État": "refusée",
        "Observations": "À conserver ; cohorte",
    }


def test_csv_opens_in_a_french_spreadsheet() -> None:
    """The file begins with the BOM of UTF-8, lines end in CRLF, and semicolons part the cells."""
    data = csv_of(bordereau(line(1), line(2), finess=None))
    assert data.startswith(b"\xef\xbb\xbfBordereau;\xc3\x89tablissement;FINESS;")
    assert data.count(b"\r\n") == data.count(b"\n") == 3
    assert [row["FINESS"] for row in rows_of(data)] == ["", ""]


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "\t@", "\0+", "＝"])
def test_csv_cell_is_never_a_formula(sign: str) -> None:
    """A cell that a spreadsheet would calculate has an apostrophe in front, also behind blanks it would skip."""
    (row,) = rows_of(csv_of(bordereau(line(citation=f"{sign}HYPERLINK(1)", patient_id=f"{sign}1"))))
    assert row["Texte"].startswith("'") and row["Texte"].endswith("HYPERLINK(1)")
    assert row["Identifiant patient"].startswith("'")


@given(st.lists(st.tuples(st.text(), st.text(max_size=64), st.text()), max_size=5))
def test_no_text_breaks_the_csv(texts: list[tuple[str, str, str]]) -> None:
    """Whatever objects and people write, a study is one physical line and no cell begins as a formula does."""
    lines = [line(at, citation=a, patient_id=b, remark=c) for at, (a, b, c) in enumerate(texts, start=1)]
    data = csv_of(bordereau(*lines))
    rows = rows_of(data)
    assert [row["N°"] for row in rows] == [str(at) for at in range(1, len(texts) + 1)]
    assert len(data.decode("utf-8-sig").splitlines()) == data.count(b"\r\n") == len(texts) + 1
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row.values())


def test_plain_text_is_as_it_was_in_the_csv() -> None:
    """Quotes, accents, blanks inside and signs that do not come first are left alone."""
    text = 'Genou "droit" ; œdème  = 3+'
    (row,) = rows_of(csv_of(bordereau(line(citation=text, remark="half \ud800 a sign"))))
    assert row["Texte"] == text
    assert row["Observations"] == "half   a sign"


# ---- PDF: the head --------------------------------------------------------------------------------------------------


def test_head_says_whose_list_it_is() -> None:
    """Title, establishment, FINESS, kind, number, who proposed it when, and until when nothing is destroyed."""
    text = pdf_words(pdf_of(bordereau(line(), waiting_until=date(2026, 6, 1))))
    assert text.startswith("Bordereau d'élimination")
    for wanted in (
        "Établissement : Hôpital de l'Écluse",
        "FINESS : 010000024",
        "Nature : établissement public de santé",
        "Bordereau n° : 2026-0007",
        "Proposé : le 02/03/2026 à 09:05 UTC par Noël Ælfric",
        "Situation arrêtée au : 01/03/2026",
        "État : proposé, à signer ; aucune destruction avant le 01/06/2026",
    ):
        assert wanted in text


def test_summary_has_a_row_for_each_rule_and_group_of_modalities() -> None:
    """Studies of one rule and the same modalities are one row: extreme dates, period, article, volume."""
    lines = [line(1), line(40), line(3, modalities=("SR", "MR")), line(4, modalities=("MR", "SR", "MR"))]
    text = pdf_pages(pdf_of(bordereau(*lines, line(5, rule_id="hospital.minor", period="28e anniversaire"))))[0]
    words = " ".join(text.split())
    assert words.count("Examens d'imagerie : scanner (CT)") == 2
    assert words.count("Examens d'imagerie : imagerie par résonance magnétique (MR), compte rendu structuré (SR)") == 1
    assert "02/05/2003 – 10/06/2003" in words
    assert f"{PERIOD} {ARTICLE} (règle hospital.base)" in words
    assert "depuis le 02/01/2025 (première étude) et le 10/02/2025 (dernière)" in words
    assert words.count("2 études 1 200 objets 630,0 Mo") == 2
    assert "Total 5 études 3 000 objets 1,5 Go" in words


@pytest.mark.parametrize("state", ["refused", "sent_back", "cancelled"])
def test_study_that_stays_is_struck_and_not_counted(state: str) -> None:
    """A study refused, sent back or cancelled is struck in the annex with its reason, and is not in any sum."""
    kept = line(2, state=state, remark="Cohorte de 1998", modalities=("US",), size_bytes=10**12)
    pdf = pdf_of(bordereau(line(1), kept))
    head, annex = pdf_pages(pdf)
    assert "échographie" not in head and "1 étude\n600 objets\n315,0 Mo" in head
    assert "1 étude refusée, renvoyée ou annulée n'est pas comptée" in head
    assert "IPP00002" in annex and "Cohorte de 1998" in " ".join(annex.split())
    assert STRUCK in pdf_drawing(pdf)


@pytest.mark.parametrize("state", ["listed", "destroying", "destroyed"])
def test_study_to_destroy_is_counted_and_not_struck(state: str) -> None:
    """A study listed, being destroyed or destroyed is counted, and nothing on the paper is struck."""
    pdf = pdf_of(bordereau(line(1, state=state)))
    assert "Total 1 étude 600 objets 315,0 Mo" in pdf_words(pdf)
    assert STRUCK not in pdf_drawing(pdf)


def test_several_studies_that_stay_are_announced() -> None:
    """The head says how many studies the annex strikes."""
    text = pdf_words(pdf_of(bordereau(line(1, state="refused"), line(2, state="sent_back"))))
    assert "2 études refusées, renvoyées ou annulées ne sont pas comptées : elles sont barrées" in text
    assert "Total 0 étude 0 objet 0 octet" in text


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [
        (0, "0 octet"),
        (999, "999 octets"),
        (1000, "1,0 ko"),
        (1_999_999, "1,9 Mo"),
        (1_234_567 * 10**9, "1 234 567,0 Go"),
    ],
)
def test_sizes_are_in_french(size_bytes: int, words: str) -> None:
    """A size has the French unit, a comma and thousands apart; it is never rounded up."""
    assert f"1 étude 600 objets {words}" in pdf_words(pdf_of(bordereau(line(size_bytes=size_bytes))))


# ---- PDF: the boxes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "titles"),
    [
        ("public", {DIRECTOR, DIM, VISA}),
        ("espic", {DIRECTOR, DIM, VISA}),
        ("private_clinic", {DIRECTOR, DIM}),
        ("practice", {PRACTITIONER}),
    ],
)
def test_boxes_are_those_the_kind_of_site_needs(kind: str, titles: set[str]) -> None:
    """A box for each office, none besides; a column for the Archives only where they give their visa."""
    text = pdf_words(pdf_of(bordereau(line(), site_kind=kind)))
    assert {title for title in (DIRECTOR, DIM, VISA, PRACTITIONER) if title in text} == titles
    assert text.count("Signature et cachet :") == len(titles) == len(needed_offices(kind))
    assert ("Référence :" in text) == ("R.212-14" in text) == (FOR_THE_ARCHIVES in text) == (VISA in titles)
    assert ("R.1112-7 : décision du directeur" in text) == (DIRECTOR in titles)


def test_signed_box_says_who_and_when() -> None:
    """A box that was signed has name, account and time, that of the visa its reference too; others are blank."""
    signed_at = datetime(2026, 3, 5, 10, 0, tzinfo=UTC)
    signatures = (
        Signature("director", "Éloïse Lefèvre", "elefevre", signed_at, None),
        Signature("dim_physician", "Dr Zoé Œil", "zoeil", None, None),
        Signature("archives_officer", "Anne Müller", "ad01", signed_at + timedelta(days=30), "AD01/2026/118"),
    )
    text = pdf_words(pdf_of(bordereau(line(), signatures=signatures)))
    assert f"{DIRECTOR} Nom : Éloïse Lefèvre (compte elefevre) Date : 05/03/2026 à 10:00 UTC Signature" in text
    assert f"{DIM} Nom : Dr Zoé Œil Date : Signature et cachet :" in text
    assert "Nom : Anne Müller (compte ad01) Date : 04/04/2026 à 10:00 UTC Référence : AD01/2026/118" in text


def test_no_signature_is_left_out() -> None:
    """Two signatures of one office, and one of an office the site does not need, have a box each."""
    at = datetime(2026, 3, 5, 10, 0, tzinfo=UTC)
    given_by = [("director", "Premier Un"), ("director", "Second Deux"), ("archivist", "Tiers Trois")]
    signatures = tuple(Signature(office, name, "a", at, None) for office, name in given_by)
    text = pdf_words(pdf_of(bordereau(line(), site_kind="private_clinic", signatures=signatures)))
    assert all(name in text for _, name in given_by)
    assert text.count("Signature et cachet :") == 4 and DIM in text


# ---- PDF: the annex -------------------------------------------------------------------------------------------------


def test_every_page_of_the_annex_says_what_it_is() -> None:
    """The heading comes again on each page, whose foot has the number of the list, of the page and of all pages."""
    pages = pdf_pages(pdf_of(bordereau(*map(line, range(1, 91)))))
    assert len(pages) > 3
    for number, page in enumerate(pages, start=1):
        assert f"Page {number} / {len(pages)}\n" in page and "n° 2026-0007 – Hôpital de l'Écluse" in page
        assert number == 1 or "Étude (Study Instance UID)" in page
    text = "\n".join(pages[1:])
    assert all(f"IPP{number:05}" in text for number in range(1, 91))


def test_longest_uid_is_whole() -> None:
    """A UID of 64 characters wraps in its cell and loses none of them."""
    assert len(LONG_UID) == 64
    pages = pdf_pages(pdf_of(bordereau(line(study_instance_uid=LONG_UID))))
    assert LONG_UID in "".join(pages[1].split()) and LONG_UID not in pages[1]


def test_text_too_long_for_a_page_is_cut() -> None:
    """A remark no page could hold ends in an ellipsis; in the CSV it is whole."""
    listed = bordereau(line(remark="mot " * 5000))
    page = pdf_pages(pdf_of(listed))[1]
    assert 50 < page.count("mot") < 5000 and page.count("…") == 1
    assert rows_of(csv_of(listed))[0]["Observations"] == ("mot " * 5000).strip()


def test_markup_in_a_text_is_shown() -> None:
    """What looks like markup is printed as it is written, and colours or closes nothing."""
    text = '<b>x</b> & </strike> <font color="red">&amp; <para> <img src="file:///etc/passwd"/>'
    pages = pdf_pages(pdf_of(bordereau(line(citation=text, patient_id="<i>7", state="refused", remark="<u>&lt;"))))
    page = "".join(pages[1].split())
    assert "".join(text.split()) in page
    assert "<i>7" in page and "<u>&lt;" in page


HOSTILE = st.text(st.sampled_from('<>/&;bi ="\n\x1b\u202eé日W')) | st.text()


@settings(max_examples=60, deadline=None)
@given(HOSTILE, HOSTILE, st.lists(HOSTILE, max_size=4), HOSTILE)
def test_no_text_breaks_the_pdf(description: str, patient_id: str, modalities: list[str], name: str) -> None:
    """Whatever objects and people write, there is a paper of two pages or a few more."""
    hostile = line(citation=description, patient_id=patient_id, modalities=tuple(modalities), remark=name)
    signature = Signature("director", name, patient_id, None, description)
    pdf = pdf_of(bordereau(hostile, proposed_by=name, site=description or "x", signatures=(signature,)))
    assert pdf.startswith(b"%PDF-") and 2 <= pdf.count(b"/Type /Page\n") <= 4


@pytest.mark.parametrize(
    "text", ["W" * 20_000, "W " * 10_000, "W" * 9 + " ", "\n" * 5000, "<" * 9000, "\ud800\u202e\x1b"]
)
def test_wide_text_never_makes_a_row_higher_than_a_page(text: str) -> None:
    """The widest letters, the worst breaks and characters of no font are laid out in every column of text."""
    hostile = line(
        study_instance_uid=text, patient_id=text, modalities=(text,) * 9, citation=text,
        period=text, rule_id=text, state=text, remark=text,
    )  # fmt: skip
    assert pdf_of(bordereau(hostile, line(2), state=text[:500])).startswith(b"%PDF-")


# ---- PDF: the file --------------------------------------------------------------------------------------------------


def test_equal_lists_are_equal_files() -> None:
    """Written again, a bordereau is the same bytes; another list is another file."""
    listed = bordereau(line(1), line(2, state="refused", remark="x"))
    assert pdf_of(listed) == pdf_of(replace(listed)) != pdf_of(replace(listed, list_id="2026-0008"))
    assert csv_of(listed) == csv_of(replace(listed))


def test_fonts_are_embedded(tmp_path: Path) -> None:
    """The file has its own fonts, so that accents show on any machine."""
    fonts = pdf_fonts(pdf_of(bordereau(line())), tmp_path)
    assert len(fonts) == 2 and all("BitstreamVera" in name for name in fonts) and all(fonts.values())


def test_a_thousand_studies_take_seconds() -> None:
    """A list of 1000 studies is written in less than five seconds of processor time, complete."""
    listed = bordereau(*(line(number, study_instance_uid=LONG_UID) for number in range(1, 1001)))
    start = time.process_time()
    pdf = pdf_of(listed)
    assert time.process_time() - start < 5
    assert "IPP01000" in pdf_pages(pdf)[-1]


def test_nothing_names_a_patient() -> None:
    """No line has a field for a name or a date of birth: what is not there cannot be printed."""
    names = {field.name for field in fields(BordereauLine)}
    assert not [name for name in names if "name" in name or "birth" in name or "sex" in name]
    assert {name for name in names if "patient" in name} == {"patient_id"}
