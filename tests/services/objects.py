"""DICOM objects for tests: small, whole, and as different as a test wants them."""

from pathlib import Path

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian

CT, MR, SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.7"

ROOT = "1.2.826.0.1.3680043.10.1234"


def data_set(number: int = 1, **attributes: object) -> Dataset:
    """The data set of object `number` of a study with one series, but for `attributes`; None leaves one out."""
    values: dict[str, object] = {
        "SOPClassUID": CT,
        "SOPInstanceUID": f"{ROOT}.3.{number}",
        "StudyDate": "20240115",
        "SeriesDate": "20240115",
        "StudyTime": "103015",
        "AccessionNumber": "A1",
        "Modality": "CT",
        "ReferringPhysicianName": "Referrer^Ruth",
        "StudyDescription": "Head",
        "SeriesDescription": "Axial",
        "PatientName": "Phantom^Paula",
        "PatientID": "P1",
        "PatientBirthDate": "19700101",
        "PatientSex": "O",
        "StudyInstanceUID": f"{ROOT}.1.1",
        "SeriesInstanceUID": f"{ROOT}.2.1",
        "StudyID": "1",
        "SeriesNumber": "1",
        "InstanceNumber": str(number),
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": 16,
        "Columns": 16,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "PixelData": bytes(range(256)),
    }
    data = Dataset()
    for keyword, value in (values | attributes).items():
        if value is not None:
            setattr(data, keyword, value)
    return data


def identifier(level: str = "", /, **keys: object) -> Dataset:
    """Keys of a query, whatever they are."""
    data = Dataset()
    for keyword, value in {**({"QueryRetrieveLevel": level} if level else {}), **keys}.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None
        data.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE))
    return data


def write(path: Path, data: Dataset, transfer_syntax: UID = ExplicitVRLittleEndian) -> Path:
    """Write a Part 10 file; pixel data of an encapsulated transfer syntax are one fragment, whatever is in them."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = data.get("SOPClassUID", CT)
    meta.MediaStorageSOPInstanceUID = data.get("SOPInstanceUID", f"{ROOT}.3.0")
    meta.TransferSyntaxUID = transfer_syntax
    if transfer_syntax.is_encapsulated:
        data.PixelData = encapsulate([data.PixelData])
        data["PixelData"].VR = "OB"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = FileDataset(path, data, file_meta=meta, preamble=bytes(128))
    file.set_original_encoding(transfer_syntax.is_implicit_VR, transfer_syntax.is_little_endian)
    file.save_as(path, enforce_file_format=True)
    return path
