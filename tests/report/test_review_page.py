"""The review page in a real browser: load, sort, filter, decide, reload, undo, download."""

import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest

from pumlc.report import Item, Review, Suspect, thumbnail, write_review

HOSTILE = [
    "<script>document.title = 'owned'</script>",
    "a\"b'c",
    "line\nbreak",
    "=cmd()",
    "x" * 10_000,
    "\u202eabc",
    "</script><b>x",
    "\x1b[31mred",
]
CLASSES = ["cat", *HOSTILE, "dog"]


def make_review(number=60, **changes):
    random = np.random.RandomState(0)
    items = [
        Item(
            name=HOSTILE[i] if i < len(HOSTILE) else f"folder/{i:05d}.jpg",
            part="train" if i % 2 else "validation",
            picture=thumbnail(random.randint(0, 255, (90, 120, 3), np.uint8)),
            present=[1, 2],
            absent=[3],
        )
        for i in range(number)
    ]
    suspects = [
        Suspect(
            item=i,
            column=(i // 3) % len(CLASSES),
            given=("unknown", "absent", "present")[i % 3],
            suspicion=float(random.rand()),
            wrong=float(random.rand()) if i % 5 else None,
            similar=[1, 2],
        )
        for i in range(number)
    ]
    content = {
        "title": "Suspects of <b>runs/x</b>",
        "command": "pumlc audit runs/x",
        "classes": CLASSES,
        "items": items,
        "suspects": suspects,
        "typical": {0: [4, 5]},
    }
    return Review(**{**content, **changes})


@pytest.fixture
def page(browser, tmp_path):
    write_review(tmp_path / "review.html", make_review())
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    opened = context.new_page()
    complaints = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: complaints.extend(_network(request.url)))
    opened.goto((tmp_path / "review.html").as_uri())
    opened.wait_for_selector("#large")
    yield opened
    assert complaints == []
    context.close()


def _network(url):
    return [] if url.startswith(("file:", "data:", "blob:")) else [f"network: {url}"]


def asked(page):
    return page.inner_text("#question"), page.inner_text("#subject figcaption")


def downloaded(page):
    with page.expect_download() as download:
        page.click("#download")
    text = download.value.path().read_text("utf-8")
    return list(csv.reader(io.StringIO(text, newline="")))


def test_names_are_text_whatever_they_hold(page):
    assert page.title() == "Suspects of <b>runs/x</b>"
    assert page.query_selector_all("b") == []
    assert "\u202e" not in page.inner_text("body")
    assert "\x1b" not in page.inner_text("body")


def test_each_picture_is_in_the_page_once(tmp_path):
    review = make_review()
    write_review(tmp_path / "review.html", review)
    text = (tmp_path / "review.html").read_text("utf-8")
    assert len(re.findall(r'id="picture-\d+"', text)) == len(review.items)
    assert "http:" not in text
    assert "https:" not in text


def test_decisions_by_keyboard_outlive_a_reload(page):
    first = asked(page)
    for key in "ynu":
        page.keyboard.press(key)
    assert asked(page) != first
    assert page.inner_text("#count") == "3 decided, 17 left"
    page.reload()
    page.wait_for_selector("#large")
    assert page.inner_text("#count") == "3 decided, 17 left"
    rows = downloaded(page)
    assert rows[0] == ["image", "class", "given", "corrected"]
    assert [row[3] for row in rows[1:]] == ["present", "absent", "unknown"]
    assert {row[2] for row in rows[1:]} == {"unknown"}


def test_a_reload_goes_on_where_nothing_is_decided(page):
    page.keyboard.press("ArrowDown")
    page.keyboard.press("n")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("n")  # now the first and the second are decided
    page.keyboard.press("ArrowDown")
    third = asked(page)
    page.reload()
    page.wait_for_selector("#large")
    assert asked(page) == third


@pytest.mark.parametrize(
    ("given", "meaning"),
    [
        ("unknown", "yes adds it, no says that it is absent"),
        ("absent", "yes adds it, no leaves it absent"),
        ("present", "yes keeps it, no removes it"),
    ],
)
def test_the_page_says_what_yes_and_no_mean(page, given, meaning):
    page.click(f"button[data-list={given}]")
    assert meaning in page.inner_text("#says")


def test_the_end_of_a_list_is_said(page):
    for _ in range(20):
        assert page.inner_text("#finished") == ""
        page.keyboard.press("y")
    assert page.inner_text("#finished") == "This list is done. Next: Missing tag."
    page.keyboard.press("z")
    assert page.inner_text("#finished") == ""
    page.keyboard.press("y")
    for given in ("absent", "present"):
        page.click(f"button[data-list={given}]")
        for _ in range(20):
            page.keyboard.press("n")
    assert page.inner_text("#finished") == "Everything is decided: download the corrections."


def test_the_keys_decide_after_a_choice_by_mouse(page):
    page.click("#sort")  # the menu opens
    page.select_option("#sort", "class")
    page.keyboard.press("y")
    assert page.inner_text("#count") == "1 decided, 19 left"
    assert page.input_value("#sort") == "class"


def test_a_choice_by_keyboard_keeps_the_menu(page):
    page.focus("#sort")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.id") == "sort"


def test_undo_takes_the_last_decision_back_and_returns_to_it(page):
    first = asked(page)
    page.keyboard.press("y")
    page.keyboard.press("z")
    assert asked(page) == first
    assert page.inner_text("#count") == "0 decided, 20 left"
    page.reload()
    page.wait_for_selector("#large")
    assert page.inner_text("#count") == "0 decided, 20 left"


def test_undo_finds_a_decision_of_another_list(page):
    first = asked(page)
    page.keyboard.press("y")
    page.click("button[data-list=present]")
    assert asked(page) != first
    page.keyboard.press("z")
    assert asked(page) == first


def test_arrows_move_and_stop_at_both_ends(page):
    first = asked(page)
    page.keyboard.press("ArrowUp")
    assert asked(page) == first
    page.keyboard.press("ArrowDown")
    second = asked(page)
    assert second != first
    page.keyboard.press("ArrowLeft")
    assert asked(page) == first
    for _ in range(50):
        page.keyboard.press("ArrowRight")
    last = asked(page)
    page.keyboard.press("ArrowRight")
    assert asked(page) == last


def test_filters_and_orders(page):
    page.select_option("#class", "0")
    assert page.inner_text("#question") == "Does the picture show cat?"
    assert page.get_attribute(".row", "aria-setsize") == "2"
    page.select_option("#class", "")
    page.select_option("#part", label="train")
    assert "part train" in page.inner_text("#subject figcaption")
    page.select_option("#part", "")
    page.keyboard.press("y")
    page.select_option("#state", "decided")
    assert page.get_attribute(".row", "aria-setsize") == "1"
    page.select_option("#state", "left")
    assert page.get_attribute(".row", "aria-setsize") == "19"
    page.select_option("#state", "all")
    page.select_option("#sort", "class")
    assert page.inner_text("#question") == "Does the picture show cat?"


def test_hostile_names_come_back_as_they_are(page):
    page.click("button[data-list=absent]")
    for _ in range(20):
        page.keyboard.press("n")
    rows = downloaded(page)[1:]
    names = {row[0] for row in rows} | {row[1] for row in rows}
    assert "'=cmd()" in names  # no spreadsheet takes it for a formula
    assert {HOSTILE[0], HOSTILE[4], HOSTILE[6], HOSTILE[7]} <= names


def test_a_page_without_suspects_says_so(browser, tmp_path):
    write_review(tmp_path / "none.html", make_review(suspects=[]))
    page = browser.new_page()
    page.goto((tmp_path / "none.html").as_uri())
    assert page.inner_text("#question") == "Nothing suspicious in this list."
    page.keyboard.press("y")
    assert page.inner_text("#count") == "0 decided, 0 left"
    page.close()


def test_texts_are_shown_as_text(browser, tmp_path):
    items = [Item(name="7", part="train", text="fish <b>quota</b> " * 3, present=[0])]
    suspects = [Suspect(item=0, column=1, given="unknown", suspicion=0.5)]
    review = make_review(items=items, suspects=suspects, typical={})
    write_review(tmp_path / "texts.html", review)
    page = browser.new_page()
    page.goto((tmp_path / "texts.html").as_uri())
    assert "fish <b>quota</b>" in page.inner_text("#subject")
    assert page.inner_text("#question").startswith("Does the text have the label")
    assert "pumlc correct LABELS corrections.csv" in page.inner_text("footer")
    write_review(tmp_path / "texts.html", replace(review, apply=None))  # data that are no table
    page.goto((tmp_path / "texts.html").as_uri())
    assert "pumlc correct" not in page.inner_text("footer")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_readable_by_everyone(browser, tmp_path, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    write_review(tmp_path / "review.html", make_review(classes=["cat", *"bcdefghi", "dog"]))
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True
    )
    page = context.new_page()
    page.goto((tmp_path / "review.html").as_uri())
    page.wait_for_selector("#large")
    page.keyboard.press("y")
    found = axe.Axe().run(page).response["violations"]
    assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    context.close()


def test_a_suspect_of_an_item_that_is_not_there_is_refused(tmp_path):
    suspects = [Suspect(item=99, column=0, given="unknown", suspicion=0.5)]
    with pytest.raises(ValueError, match="60 items and 10 classes"):
        write_review(tmp_path / "x.html", make_review(suspects=suspects))
    assert not (tmp_path / "x.html").exists()
