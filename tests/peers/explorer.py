"""Orthanc Explorer as a person uses it: a real browser, a real click on *Test Echo*, a real dialog."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import ChromeOptions, Remote
from selenium.webdriver.common.by import By
from selenium.webdriver.common.proxy import Proxy, ProxyType
from selenium.webdriver.remote.client_config import ClientConfig
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
        try:
            yield driver
        finally:
            driver.quit()


def press_test_echo(driver: WebDriver, orthanc_url: str, modality: str) -> str:
    """Query/Retrieve, choose `modality`, press *Test Echo*: the text of the dialog that follows."""
    driver.get("about:blank")  # else a second visit only changes the fragment, and shows the old list
    driver.get(f"{orthanc_url}/app/explorer.html#query-retrieve")
    # Both are the native elements, which jQuery Mobile lays over the buttons that it draws.
    _wait(driver).until(expected.element_to_be_clickable((By.ID, "qr-echo")))
    Select(driver.find_element(By.ID, "qr-server")).select_by_visible_text(modality)
    driver.find_element(By.ID, "qr-echo").click()
    text = _wait(driver).until(expected.visibility_of_element_located(_DIALOG_TEXT)).text
    driver.find_element(*_DIALOG_OK).click()
    return text


def _wait(driver: WebDriver) -> WebDriverWait[WebDriver]:
    return WebDriverWait(driver, _DIALOG_TIMEOUT, poll_frequency=0.05)


def _options(folder: Path) -> ChromeOptions:
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*_FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    return options


def _direct(url: str) -> ClientConfig:
    """The driver is on loopback: whatever proxy the environment names is not for us."""
    return ClientConfig(url, proxy=Proxy({"proxyType": ProxyType.DIRECT}))


def _home(folder: Path) -> dict[str, str]:
    """Chromium's libraries write to the home folder besides the profile."""
    return {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
