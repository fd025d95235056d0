"""The pictures of the review page: docs/images/review.png (audit) and guide_review.png (README).

    pumlc demo --out demo_data
    python experiments/review_screenshot.py demo_data/audit/review.html docs/images/review.png

and, after the first commands of docs/guides/clean_photos.md,

    python experiments/review_screenshot.py audit/review.html docs/images/guide_review.png

The pictures in it are those that the commands compose. Needs playwright and a Chromium browser.
"""

import argparse
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

DECIDED = "yyyy"
WIDTH, HEIGHT = 1200, 940
COLOURS = 128


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(options.page.absolute().as_uri())
        page.wait_for_selector("#large")
        for key in DECIDED:
            page.keyboard.press(key)
        page.wait_for_timeout(500)
        page.screenshot(path=options.out)
        browser.close()
    with Image.open(options.out) as picture:
        few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(options.out, optimize=True)
    print(f"{options.out}: {options.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
