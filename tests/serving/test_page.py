"""The page at `/`, used in a browser as people use it."""

import json
import shutil
import subprocess
import time
import urllib.request

import pytest

from kfp_bert_components.deployment import deploy_to_serving_directory
from kfp_bert_components.registry import Registry
from kfp_bert_components.serving.limits import Limits
from tests.support.browser import chromium, expect
from tests.support.models import candidate_for
from tests.support.served_app import served_app
from tests.support.tiny_model import write_keyword_model

SCRIPT = "<img src=x onerror=window.hit=1><script>window.hit=1</script>"
KEYWORDS = {"calm": "sea", "alarm": "fire", "질문": "어디", SCRIPT: "bad"}
HARD = """It's "fire" at $HOME `date` $(date) \\n \\ ! 어디? 🔥 \u202e\u0085
second line's \\"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


def write_model(folder, keywords=KEYWORDS, *, pair=False, **facts):
    """A bundle of a keyword model, as far as the server reads it."""
    write_keyword_model(folder / "saved_model", keywords, pair=pair)
    facts = {"format": 1, "labels": list(keywords), "pair": pair, "fingerprint": "f" * 64, **facts}
    (folder / "bundle.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"), base_model=SCRIPT, max_length=64)


@pytest.fixture(scope="module")
def address(model):
    with served_app(model) as address:
        yield address


@pytest.fixture
def opened(browser):
    """Opens a page; at the end of the test the browser must have complained of nothing but requests that failed."""
    pages, complaints = [], []

    def opened(address, width=1280, height=800, **settings):
        page = browser.new_page(viewport={"width": width, "height": height}, **settings)
        page.set_default_timeout(20_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        pages.append(page)
        return page

    yield opened
    for page in pages:
        assert page.evaluate("window.hit") is None
        page.close()
    assert [text for text in complaints if not text.startswith("Failed to load resource")] == []


@pytest.fixture
def page(opened, address):
    return opened(address)


def says(page, selector, text):
    """Wait until an element has exactly this text."""
    expect(page.locator(selector)).to_have_text(text, timeout=20_000)


def wait_for(page, selector, text):
    """Wait until an element's text holds this."""
    expect(page.locator(selector)).to_contain_text(text, timeout=20_000)


def table(page, selector):
    """The texts of a table's cells, row by row."""
    rows = page.locator(f"{selector} tbody tr").all()
    return [[cell.strip() for cell in row.locator("th, td").all_inner_texts()] for row in rows]


def test_labels_and_bars_follow_what_is_typed(page):
    page.keyboard.type("fire")  # the text has the focus from the start
    says(page, "#status", "alarm, 61.0 %")
    assert [row[0] for row in table(page, "#bars")] == ["alarm", "calm", "질문", SCRIPT]
    assert page.locator("#bars progress").first.evaluate("bar => bar.value") == pytest.approx(0.610, abs=1e-3)
    page.keyboard.type(" sea 어디 어디")
    says(page, "#status", "질문, 65.7 %")
    assert table(page, "#bars")[0] == ["질문", "", "65.7 %"]
    page.get_by_label("Text", exact=True).fill("  \n ")
    says(page, "#status", "Type or paste a text.")
    assert page.locator("#answer").is_hidden()


@pytest.mark.parametrize("cancelled", [True, False])
def test_the_model_is_asked_when_the_typing_pauses_and_late_answers_are_dropped(page, cancelled):
    held = []
    if not cancelled:  # as where the answer is on its way when the request is given up
        page.evaluate("const send = fetch; window.fetch = (url, options) => send(url, {...options, signal: null})")

    def hold_first(route):
        held.append(route)
        if len(held) > 1:
            route.continue_()

    page.route("**/*:predict", hold_first)
    text = page.get_by_label("Text", exact=True)
    text.press_sequentially("fire fire", delay=10)
    while not held:
        page.wait_for_timeout(20)
    text.fill("sea sea")
    wait_for(page, "#status", "calm")
    held[0].fulfill(json={"predictions": [{"label": "late", "score": 1, "probabilities": [0, 1, 0, 0]}]})
    page.wait_for_timeout(300)
    says(page, "#status", "calm, 98.0 %")
    assert page.locator("#problem").inner_text() == ""
    assert len(held) <= 3  # not one for each of the nine keys


def test_several_lines_are_a_table_from_which_one_is_chosen_by_keyboard(page):
    page.get_by_label("Text", exact=True).fill("fire\n\n어디\nbad")
    says(page, "#status", "3 lines are answered.")
    assert [row[:2] for row in table(page, "#table")] == [["fire", "alarm"], ["어디", "질문"], ["bad", SCRIPT]]
    assert {row[2] for row in table(page, "#table")} == {"61.0 %"}
    page.get_by_role("button", name="어디").focus()
    page.keyboard.press("Enter")
    says(page, "#bars-title", "Probabilities of line 2")
    assert table(page, "#bars")[0][0] == "질문"
    assert page.locator(":focus").inner_text() == "어디"
    assert page.locator(":focus").get_attribute("aria-pressed") == "true"
    page.get_by_label("Each line").uncheck()
    says(page, "#bars-title", "Probabilities")
    assert page.locator("#table").is_hidden()


def test_more_lines_than_a_page_shows_are_said(page):
    page.get_by_label("Text", exact=True).fill("fire\n" * 300)
    says(page, "#note", "There are 300 lines: only the first 256 are shown.")
    assert page.locator("#table tbody tr").count() == 256


def test_why_shows_how_the_score_changes_without_each_word(page):
    page.get_by_label("Why").check()
    page.get_by_label("Text", exact=True).fill("the fire at sea and the fire again")
    wait_for(page, "#words", "fire")
    # softmax(3, 4, 0, 0) has 0.712 for the second; softmax(3, 0, 0, 0) 0.043, and softmax(1, 4, 0, 0) 0.920.
    assert table(page, "#words") == [["fire", "−66.9", "calm", "87.0 %"], ["sea", "+20.8", "alarm", "92.0 %"]]
    marks = page.locator("#highlights mark").all_inner_texts()
    assert marks == ["fire−66.9", "sea+20.8", "fire−66.9"]
    assert page.locator("#highlights").inner_text().startswith("the fire−66.9 at sea+20.8 and")
    page.get_by_label("Text", exact=True).fill("nothing here")
    wait_for(page, "#words caption", "No single word")
    page.get_by_label("Why").uncheck()
    page.wait_for_selector("#explanation", state="hidden")


def test_of_a_long_text_a_bounded_number_of_words_is_left_out_in_one_request(page):
    asked = []
    page.on("request", lambda request: asked.append(request.post_data_json) if request.method == "POST" else None)
    page.get_by_label("Why").check()
    page.get_by_label("Text", exact=True).fill(" ".join(f"w{n}" for n in range(250)))
    wait_for(page, "#words caption", "Of the 250 different words the first 100 were left out.")
    assert [len(body["instances"]) for body in asked] == [1, 101]


def test_words_of_korean_and_of_scripts_without_spaces_are_found(opened, tmp_path):
    with served_app(write_model(tmp_path, {"a": "x", "b": "ไป"})) as address:
        page = opened(address)
        page.get_by_label("Why").check()
        page.get_by_label("Text", exact=True).fill("어디에 있어요")
        wait_for(page, "#words caption", "No single word")
        asked = []
        page.on("request", lambda request: asked.append(request.post_data_json) if request.method == "POST" else None)
        page.get_by_label("Text", exact=True).fill("東京に行く")
        page.wait_for_timeout(1000)
    assert len(asked) == 2
    assert asked[1]["instances"][1] == "に行く"


def test_pairs_have_two_fields_and_words_of_both_are_left_out(opened, tmp_path):
    with served_app(write_model(tmp_path, pair=True)) as address:
        page = opened(address)
        page.get_by_label("Why").check()
        page.get_by_label("Text", exact=True).fill("sea")
        page.get_by_label("Second text").fill("fire fire")
        wait_for(page, "#status", "alarm")
        wait_for(page, "#words", "fire")
        assert [row[0] for row in table(page, "#words")] == ["fire", "sea"]
        page.get_by_label("Text", exact=True).fill("sea\nbad")
        wait_for(page, "#problem", "There are 2 lines above and 1 below")
        page.get_by_label("Second text").fill("fire fire\nbad")
        says(page, "#status", "2 lines are answered.")
        assert [row[1] for row in table(page, "#table")] == ["alarm", SCRIPT]
        assert same_answer(page.locator("#curl").inner_text())["predictions"][1]["label"] == SCRIPT


def same_answer(command, shell="sh"):
    """What the command prints in a shell, as JSON."""
    done = subprocess.run([shell, "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("clipboard", [True, False])
def test_the_copied_command_gives_the_same_answer_in_a_shell(opened, address, shell, clipboard):
    page = opened(address)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate("navigator.clipboard.writeText('nothing')")
    if not clipboard:  # as where the page comes from another machine without https
        page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    sent = []
    page.on("request", lambda request: sent.append(request.post_data_json) if request.method == "POST" else None)
    page.get_by_label("Each line").uncheck()
    text = page.get_by_label("Text", exact=True)
    text.fill(HARD)
    wait_for(page, "#curl", "curl")
    assert sent == [{"instances": [HARD]}]
    page.get_by_role("button", name="Copy").click()
    says(page, "#copied", "Copied.")
    text.fill("")
    text.focus()
    page.keyboard.press("Control+V")
    command = text.input_value()
    assert command.startswith("curl -s 'http://127.0.0.1:")
    assert "\n" not in command
    assert "\\\\" not in command and "\\'" not in command  # which the shell fish would take for escapes
    request = urllib.request.Request(f"{address}/v1/models/bert:predict", json.dumps(sent[0]).encode())
    with urllib.request.urlopen(request, timeout=30) as reply:
        assert same_answer(command, shell) == json.load(reply)
    echoed = subprocess.run(
        [shell, "-c", command.replace("curl", "printf '%s\\n'", 1)], capture_output=True, text=True, timeout=60
    )
    assert json.loads(echoed.stdout.splitlines()[-1]) == sent[0]


def test_a_name_with_signs_of_addresses_is_written_for_addresses(opened, model):
    with served_app(model, name="a [1]%20 {b}?#한") as address:
        page = opened(address)
        page.keyboard.type("fire")
        wait_for(page, "#status", "alarm")
        command = page.locator("#curl").inner_text()
    assert "/v1/models/a%20%5B1%5D%2520%20%7Bb%7D%3F%23%ED%95%9C:predict'" in command


def test_a_text_that_no_shell_takes_has_no_command(page):
    page.get_by_label("Text", exact=True).fill("어디 " * 20_000)
    wait_for(page, "#curl", "too long for one line")
    assert page.get_by_role("button", name="Copy").is_hidden()


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(opened, address, width):
    page = opened(address, width, 844)
    page.get_by_label("Why").check()
    page.get_by_label("Text", exact=True).fill(f"{'x' * 500} fire\nbad {'어디' * 200}")
    wait_for(page, "#words", "fire")
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_the_colours_are_those_that_the_system_asks_for(opened, address):
    luminance = {}
    for scheme in ("light", "dark"):
        page = opened(address, color_scheme=scheme)
        for name in ("backgroundColor", "color"):
            colour = page.evaluate(f"getComputedStyle(document.body).{name}")
            luminance[scheme, name] = sum(int(part) for part in colour[4:-1].split(","))
    assert luminance["light", "backgroundColor"] > 600 > 200 > luminance["light", "color"]
    assert luminance["dark", "backgroundColor"] < 100 < 500 < luminance["dark", "color"]


def test_no_script_in_a_text_or_a_label_is_run(page):
    page.get_by_label("Why").check()
    page.get_by_label("Text", exact=True).fill(f"bad {SCRIPT}\nfire")
    wait_for(page, "#words", "bad")
    assert page.locator("img").count() == 0
    assert SCRIPT in page.locator("#facts").inner_text()  # the base model, and a class
    assert SCRIPT in page.locator("#bars").inner_text()


def test_the_policy_of_the_page_lets_no_other_script_run(browser, address):
    with urllib.request.urlopen(address, timeout=30) as reply:
        policy = reply.headers["Content-Security-Policy"]
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Referrer-Policy"] == "no-referrer"
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy
    page, complaints = browser.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(address)
    page.evaluate("""() => {
        const script = document.createElement("script");
        script.append("window.hit = 1");
        document.body.append(script);
    }""")
    assert page.evaluate("window.hit") is None
    assert "blocked" in complaints[0]
    with pytest.raises(Exception, match="TrustedHTML"):
        page.evaluate("document.body.innerHTML = '<p>'")
    page.close()


def test_every_control_is_reached_by_tab_in_the_order_of_the_page(page):
    page.keyboard.type("fire")
    wait_for(page, "#status", "alarm")
    seen = []
    for _ in range(5):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id"))
    assert seen == ["lines", "why", "curl", "copy", ""]  # then the browser itself
    assert page.locator("#status").get_attribute("role") == "status"
    assert page.locator("#problem").get_attribute("role") == "alert"


def test_of_a_thousand_classes_the_first_are_shown_until_all_are_asked_for(opened, tmp_path):
    with served_app(write_model(tmp_path, {f"분류 {n}": f"k{n}" for n in range(1000)})) as address:
        page = opened(address, 390, 844)
        page.get_by_label("Text", exact=True).fill("k777")
        wait_for(page, "#status", "분류 777")
        assert page.locator("#bars tbody tr").count() == 10
        page.get_by_role("button", name="Show all 1000").click()
        assert page.locator("#bars tbody tr").count() == 1000
        page.get_by_role("button", name="Show the first 10 only").click()
        assert page.locator("#bars tbody tr").count() == 10


def test_refusals_of_the_server_are_shown_as_its_sentences(opened, model):
    with served_app(model, limits=Limits(instances=3, characters=40, body_bytes=90)) as address:
        page = opened(address)
        text = page.get_by_label("Text", exact=True)
        text.fill("a" * 50)
        wait_for(page, "#problem", "has 50 characters: send at most 40.")
        text.fill("a" * 100)
        says(page, "#problem", "The body is too large: send at most 90 bytes.")
        assert page.locator("#answer").is_hidden()
        text.fill("fire\nsea\nbad\nfire")
        says(page, "#note", "There are 4 lines: only the first 3 are shown.")
        assert page.locator("#problem").inner_text() == ""
    page.get_by_label("Text", exact=True).fill("fire")
    says(page, "#problem", "The server cannot be reached: is it still running?")


@pytest.mark.parametrize(("status", "body"), [(502, "<h1>Bad gateway</h1>"), (200, "<h1>Log in</h1>"), (500, "{}")])
def test_an_answer_of_something_between_is_said_to_be_unreadable(page, status, body):
    page.route("**/*:predict", lambda route: route.fulfill(status=status, body=body))
    page.keyboard.type("fire")
    says(page, "#problem", f"The server's answer cannot be read: its status is {status}.")


def test_while_the_model_loads_the_page_says_so_and_goes_on_by_itself(opened, model, tmp_path):
    with served_app(tmp_path, ready=False, poll_seconds=0.1) as address:
        page = opened(address)
        wait_for(page, "#model", "loading")
        page.keyboard.type("fire")
        shutil.copytree(model / "saved_model", tmp_path / "1")
        says(page, "#status", "alarm, 61.0 %")
        assert table(page, "#bars")[1][0] == "class 0"  # nothing says what the other classes are called
        page.route("**/*:predict", lambda route: route.fulfill(status=503, json={"error": "The server is busy."}))
        page.keyboard.type(" fire")
        says(page, "#problem", "The server is busy.")
        page.unroute("**/*:predict")
        wait_for(page, "#status", "alarm")
        assert page.locator("#problem").inner_text() == ""


def test_after_a_swap_probabilities_have_the_names_of_the_version_that_answers(opened, tmp_path):
    keywords = {"calm": "sea", "alarm": "fire", "question": "where"}
    versions = tmp_path / "versions"
    write_model(versions / "1", keywords)
    with served_app(versions, poll_seconds=0.1) as address:
        page = opened(address)
        page.keyboard.type("fire")
        says(page, "#status", "alarm, 66.5 %")
        wait_for(page, "#model", "version 1")
        moved = {label: keywords[label] for label in ("question", "alarm", "calm")}
        write_model(tmp_path / "new", moved, fingerprint="e" * 64).rename(versions / "2")
        wait_until_version(address, 2)
        page.keyboard.type(" sea sea")
        says(page, "#status", "calm, 84.4 %")
        assert [name for name, *_ in table(page, "#bars")] == ["calm", "alarm", "question"]
        wait_for(page, "#model", "version 2")


def wait_until_version(address, number):
    end = time.monotonic() + 20
    while True:
        with urllib.request.urlopen(f"{address}/healthz", timeout=10) as reply:
            if json.load(reply)["version"] == number:
                return
        assert time.monotonic() < end
        time.sleep(0.05)


def test_decision_history_and_card_are_those_of_the_registry(opened, tmp_path):
    registry = Registry(str(tmp_path / "registry"))
    bundle, evaluation, decision = candidate_for(registry, tmp_path, "m")
    write_model(bundle, fingerprint="model m", max_length=64)
    registry.promote(bundle, evaluation, decision)
    deploy_to_serving_directory(registry.uri, str(tmp_path / "serving"))
    with served_app(tmp_path / "serving") as address:
        page = opened(address)
        wait_for(page, "#facts", "1, the champion")
        page.get_by_text("Decision", exact=True).click()
        assert "PROMOTE: macro F1 is 0.05 higher." in page.locator("#decision").inner_text()
        assert table(page, "#decision") == [["macro_f1", "0.9100", "0.8800 to 0.9400"]]
        page.get_by_text("History", exact=True).click()
        events = page.locator("#history li").all_inner_texts()
        assert "went live on production" in events[0]
        assert "became champion, the first one: macro F1 is 0.05 higher." in events[-1]
        page.get_by_text("Model card", exact=True).click()
        assert "# Text classifier, version 1" in page.locator("#card pre").inner_text()
        assert "<img src=x onerror" in page.locator("#card pre").inner_text()
