"""Orthanc Explorer as a person uses it: a real browser, real clicks on its pages, real dialogs.

Each function is one walk from the start page, and returns what the person sees at its end.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from selenium.common.exceptions import UnexpectedAlertPresentException
from selenium.webdriver import ChromeOptions, Remote
from selenium.webdriver.common.by import By
from selenium.webdriver.common.proxy import Proxy, ProxyType
from selenium.webdriver.remote.client_config import ClientConfig
from selenium.webdriver.remote.file_detector import UselessFileDetector
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support import expected_conditions as expected
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from .ports import free_port, listens
from .process import running

# Named, so that selenium does not look for others, and download them.
CHROMEDRIVER = "/usr/bin/chromedriver"
CHROMIUM = "/usr/bin/chromium"

_FLAGS = (
    "--headless",
    "--no-sandbox",  # without which it refuses to run as root
    "--disable-gpu",
    # The rest keeps it from talking to anybody but Orthanc.
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# Not an alert() of the browser, but a part of the page (jQuery Mobile's SimpleDialog2).
_DIALOG_TEXT = (By.CSS_SELECTOR, ".ui-simpledialog-subtitle")
_DIALOG_OK = (By.CSS_SELECTOR, ".ui-simpledialog-controls a")

# Above DicomScuTimeout (10 s): the longest that Orthanc lets the person wait for the dialog.
_DIALOG_TIMEOUT = 30.0


@contextmanager
def browser(folder: Path) -> Iterator[WebDriver]:
    """A headless Chromium that keeps all that it writes in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    # Chromium stays in the process group of its driver and ends with it, even where quit() could not be said.
    with running(
        [CHROMEDRIVER, f"--port={port}"],
        log=folder / "chromedriver.log",
        ready=lambda child: listens(child.pid, port),
        env=os.environ | _home(folder),
    ):
        url = f"http://127.0.0.1:{port}"
        driver = Remote(url, options=_options(folder), client_config=_direct(url))
        driver.file_detector = UselessFileDetector()  # the browser is on this machine, and so are its files
        try:
            yield driver
        finally:
            driver.quit()


def press_test_echo(driver: WebDriver, orthanc_url: str, modality: str) -> str:
    """Query/Retrieve, choose `modality`, press *Test Echo*: the text of the dialog that follows."""
    _open(driver, orthanc_url, "query-retrieve")
    # Both are the native elements, which jQuery Mobile lays over the buttons that it draws.
    _wait(driver).until(expected.element_to_be_clickable((By.ID, "qr-echo")))
    Select(driver.find_element(By.ID, "qr-server")).select_by_visible_text(modality)
    driver.find_element(By.ID, "qr-echo").click()
    text = _wait(driver).until(expected.visibility_of_element_located(_DIALOG_TEXT)).text
    driver.find_element(*_DIALOG_OK).click()
    return text


def upload(driver: WebDriver, orthanc_url: str, *files: Path) -> str:
    """Upload, *Select files to upload ...*, *Start the upload*: what the bar says then."""
    _open(driver, orthanc_url, "upload")
    start = _wait(driver).until(expected.element_to_be_clickable((By.ID, "upload-button")))
    # What a person picks in the dialog of the browser goes to this element, which is not shown.
    driver.find_element(By.ID, "fileupload").send_keys("\n".join(str(file.resolve()) for file in files))
    start.click()
    label = (By.CSS_SELECTOR, "#progress .label")
    _wait(driver).until(lambda driver: driver.find_element(*label).text in {"Done", "Failure"})
    return driver.find_element(*label).text


def send_study(driver: WebDriver, orthanc_url: str, patient: str, modality: str) -> str:
    """*All studies*, the one of `patient`, *Send to DICOM modality*, `modality`: the ID of the job that follows."""
    _open(driver, orthanc_url, "find-studies")
    _wait(driver).until(expected.element_to_be_clickable((By.PARTIAL_LINK_TEXT, patient))).click()
    _wait(driver).until(expected.element_to_be_clickable((By.ID, "study-store"))).click()
    target = (By.CSS_SELECTOR, f".ui-simpledialog-container li[name={modality}] a")
    _wait(driver).until(expected.element_to_be_clickable(target)).click()
    _wait(driver).until(expected.url_contains("#job?uuid="))
    return driver.current_url.rpartition("=")[2]


def search_studies(driver: WebDriver, orthanc_url: str, modality: str, patient_id: str) -> list[str]:
    """Query/Retrieve, choose `modality`, say the Patient ID, *Search studies*: the headings of what is found,
    or the text of the alert."""
    _open(driver, orthanc_url, "query-retrieve")
    search = _wait(driver).until(expected.element_to_be_clickable((By.ID, "qr-submit")))
    Select(driver.find_element(By.ID, "qr-server")).select_by_visible_text(modality)
    driver.find_element(By.ID, "qr-value").send_keys(patient_id)
    search.click()
    if text := _alert_or(driver, "#query-retrieve-2"):
        return [text]
    _wait(driver).until(expected.visibility_of_element_located((By.ID, "query-retrieve-2")))
    return [heading.text for heading in driver.find_elements(By.CSS_SELECTOR, "#query-retrieve-2 li h3")]


def retrieve_study(driver: WebDriver, target: str | None = None) -> str:
    """The arrow beside the first study that was found, *Retrieve*: the text of the alert, empty when there is none.

    `target` is typed over what stands in *Target AET*, which is Orthanc's own title.
    """
    driver.find_element(By.CSS_SELECTOR, "#query-retrieve-2 li a.ui-li-link-alt").click()
    button = _wait(driver).until(expected.element_to_be_clickable((By.ID, "retrieve-submit")))
    _wait(driver).until(expected.url_contains("#query-retrieve-4"))  # it is shown before the address is its own
    field = driver.find_element(By.ID, "retrieve-target")
    if target is not None:
        field.clear()
        field.send_keys(target)
    button.click()
    return _alert_or(driver, "#query-retrieve-2")


def _open(driver: WebDriver, orthanc_url: str, page: str) -> None:
    driver.get("about:blank")  # else a second visit only changes the fragment, and shows the old list
    driver.get(f"{orthanc_url}/app/explorer.html#{page}")


def _alert_or(driver: WebDriver, page: str) -> str:
    """The text of the alert that comes; empty when that page comes."""
    texts: list[str] = []

    def is_there(driver: WebDriver) -> bool:
        if alert := expected.alert_is_present()(driver):
            texts.append(alert.text)
            alert.accept()
            return True
        with suppress(UnexpectedAlertPresentException):  # it comes just now
            return page in (driver.current_url or "")
        return False

    _wait(driver).until(is_there)
    return texts[0] if texts else ""


def _wait(driver: WebDriver) -> WebDriverWait[WebDriver]:
    return WebDriverWait(driver, _DIALOG_TIMEOUT, poll_frequency=0.05)


def _options(folder: Path) -> ChromeOptions:
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    options.unhandled_prompt_behavior = "ignore"  # an alert stays until we have read it
    for flag in (*_FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    return options


def _direct(url: str) -> ClientConfig:
    """The driver is on loopback: whatever proxy the environment names is not for us."""
    return ClientConfig(url, proxy=Proxy({"proxyType": ProxyType.DIRECT}))


def _home(folder: Path) -> dict[str, str]:
    """Chromium's libraries write to the home folder besides the profile."""
    return {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
