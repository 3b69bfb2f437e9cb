"""The page of the server in a browser."""

import io
import re
import shutil

import numpy as np
import pytest
import soundfile


sync_api = pytest.importorskip("playwright.sync_api")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="There is no Chromium.")

TEXT = "hello world"
# A microphone that hums, and whose use nobody has to allow.
OPTIONS = (
    "--no-sandbox",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
TABS = ("Speak", "Clone", "Dialogue", "Voices")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, server):
    """The page, which asks no other server for anything and says no error."""
    context = browser.new_context(viewport={"width": 1100, "height": 800})
    page = context.new_page()
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(server.url)
    page.wait_for_selector('#model:text("moss-tts")')
    yield page
    assert errors == [] and all(url.startswith((server.url, "blob:", "data:")) for url in requests)
    context.close()


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "voice.wav"
    soundfile.write(path, 0.3 * np.sin(np.arange(24000) * 0.05), 24000)
    return path


def press(page, name: str) -> str:
    """Presses a button, and returns what the page says when all is done."""
    page.evaluate("document.getElementById('state').textContent = ''")
    page.get_by_role("button", name=name, exact=True).locator("visible=true").click()
    done = page.locator("#state", has_text=re.compile(r"Done\.|The voice .* is kept\."))
    done.or_(page.locator("#state.wrong")).wait_for(timeout=60000)
    return page.locator("#state").inner_text()


def test_a_sentence_is_heard_while_it_is_made_and_downloaded(page, server):
    page.evaluate(
        "window.said = []; new MutationObserver(() => said.push(document.getElementById('state').textContent))"
        ".observe(document.getElementById('state'), {childList: true})"
    )
    page.locator("#text").fill(TEXT)
    page.locator("#seed").fill("1")
    assert press(page, "Speak") == "Done."
    said = page.evaluate("said")
    assert any(text.startswith("First sound after") for text in said[:-1]) and said[-1] == "Done."
    with page.expect_download() as download:
        page.locator("#download").click()
    audio, rate = soundfile.read(io.BytesIO(download.value.path().read_bytes()), dtype="int16")
    body = {"input": TEXT, "seed": 1, "response_format": "pcm", "stream_format": "audio"}
    assert rate == 24000 and audio.tobytes() == server.client.post("/v1/audio/speech", json=body).content
    assert page.evaluate("document.getElementById('audio').duration") == pytest.approx(len(audio) / rate)


def test_what_is_wrong_is_said(page):
    page.locator("#seed").fill("x")
    page.locator("#text").fill(TEXT)
    assert press(page, "Speak") == "The seed must be a whole number, such as 7."
    page.get_by_role("tab", name="Clone").click()
    assert press(page, "Speak") == "Upload a recording, or record one."


def test_voices_are_made_from_files_and_the_microphone(page, server, recording):
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("tab", name="Voices").click()
    page.set_input_files("#file-kept", recording)
    page.locator("#name").fill("anna")
    page.locator("#consent").fill("Mine.")
    assert press(page, "Keep") == "The voice anna is kept." and server.voices.names() == ["anna"]
    box = page.locator('.recording[data-name="kept"]')
    box.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(1500)
    box.get_by_role("button", name="Stop recording").click()
    box.get_by_role("button", name="Record", exact=True).wait_for()
    page.locator("#name").fill("mic")
    assert press(page, "Keep") == "The voice mic is kept." and server.voices.names() == ["anna", "mic"]
    page.get_by_role("tab", name="Speak").click()
    page.locator("#voice").select_option("anna")
    page.locator("#text").fill(TEXT)
    assert press(page, "Speak") == "Done."
    page.get_by_role("tab", name="Voices").click()
    for name in ("anna", "mic"):
        page.locator("li", has_text=name).get_by_role("button").click()
        page.locator("#state", has_text=f"The voice {name} is deleted.").wait_for()
    assert server.voices.names() == []


def test_a_recording_is_cloned(page, recording):
    page.get_by_role("tab", name="Clone").click()
    page.set_input_files("#file-clone", recording)
    page.locator("#clone-text").fill(TEXT)
    assert press(page, "Speak") == "Done."


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1100, 360])
def test_light_and_dark_wide_and_narrow(browser, server, scheme, width, tmp_path):
    """Everything has its place on a phone too. The pictures are there to be looked at."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.goto(server.url)
    page.wait_for_selector('#model:text("moss-tts")')
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (sum(colour) > 600) == (scheme == "light")
    for tab in TABS:
        page.get_by_role("tab", name=tab).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        boxes = [element.bounding_box() for element in page.locator("button, input, textarea, select").all()]
        assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes if box)
        page.screenshot(path=tmp_path / f"{tab}.png", full_page=True)
    context.close()
