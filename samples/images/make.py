"""Make the images of this folder anew: a phantom, computed, in several modalities and transfer syntaxes.

And the one that minipacs itself carries, in minipacs/services; with FOLDER, in FOLDER/package.

    python samples/images/make.py FOLDER

Nobody's body, nobody's name: the head is the phantom of L. A. Shepp and B. F. Logan (IEEE Trans. Nucl. Sci. 21, 1974,
with the contrasts of P. Toft), which is ten ellipses. The same bytes come out each time.
"""

import math
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import RLELosslessEncoder
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
CR = "1.2.840.10008.5.1.4.1.1.1"
US = "1.2.840.10008.5.1.4.1.1.6.1"
SC = "1.2.840.10008.5.1.4.1.1.7"
MULTI_FRAME_SC = "1.2.840.10008.5.1.4.1.1.7.2"  # Multi-frame Grayscale Byte

# Contrast, half axes, centre, and turn in degrees, in a square from -1 to 1.
ELLIPSES = (
    (1.0, 0.69, 0.92, 0.0, 0.0, 0),
    (-0.8, 0.6624, 0.874, 0.0, -0.0184, 0),
    (-0.2, 0.11, 0.31, 0.22, 0.0, -18),
    (-0.2, 0.16, 0.41, -0.22, 0.0, 18),
    (0.1, 0.21, 0.25, 0.0, 0.35, 0),
    (0.1, 0.046, 0.046, 0.0, 0.1, 0),
    (0.1, 0.046, 0.046, 0.0, -0.1, 0),
    (0.1, 0.046, 0.023, -0.08, -0.605, 0),
    (0.1, 0.023, 0.023, 0.0, -0.606, 0),
    (0.1, 0.023, 0.046, 0.06, -0.605, 0),
)


def density(x: float, y: float) -> float:
    """That of the phantom there, 0 to 1."""
    total = 0.0
    for contrast, a, b, x0, y0, degrees in ELLIPSES:
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        u, v = (x - x0) * cosine + (y - y0) * sine, (y - y0) * cosine - (x - x0) * sine
        total += contrast * ((u / a) ** 2 + (v / b) ** 2 <= 1)
    return min(max(total, 0.0), 1.0)


def phantom(rows: int, columns: int, turn: float = 0.0, zoom: float = 1.0) -> Iterator[float]:
    """Its densities row by row, turned by so many degrees; *zoom* below 1 shows it smaller."""
    cosine, sine = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    scale = 2 / (min(rows, columns) * zoom)
    for row in range(rows):
        for column in range(columns):
            x, y = (column - (columns - 1) / 2) * scale, ((rows - 1) / 2 - row) * scale
            yield density(x * cosine + y * sine, y * cosine - x * sine)


def words(densities: Iterator[float], least: int, most: int) -> bytes:
    """16 bits a pixel, little endian."""
    return b"".join(
        round(least + value * (most - least)).to_bytes(2, "little", signed=least < 0) for value in densities
    )


def octets(densities: Iterator[float]) -> bytes:
    """8 bits a pixel."""
    return bytes(round(value * 255) for value in densities)


def colours(densities: Iterator[float]) -> bytes:
    """Red, green and blue of each pixel: from black over red and yellow to white."""
    return bytes(round(min(max(value * 3 - part, 0), 1) * 255) for value in densities for part in range(3))


def uid(name: str) -> UID:
    """One that is always the same for that name (PS3.5 §B.2)."""
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_DNS, f'{name}.phantom.minipacs').int}")


def image(sop_class: str, name: str, patient: str, modality: str, instance: int = 1) -> Dataset:
    """All but the pixels; *name* is that of the series."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"  # UTF-8
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, uid(f"{name}.{instance}")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid(f"{name}.study"), uid(f"{name}.series")
    dataset.PatientName, dataset.PatientID = patient, f"PHANTOM-{name.upper()}"
    dataset.PatientBirthDate, dataset.PatientSex = "", "O"
    dataset.StudyDate = dataset.ContentDate = "20260102"
    dataset.StudyTime = dataset.ContentTime = "030405"
    dataset.StudyID, dataset.AccessionNumber, dataset.ReferringPhysicianName = "1", f"ACC-{name.upper()}", ""
    dataset.StudyDescription, dataset.SeriesDescription = "Phantom", f"Shepp-Logan {modality}"
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = modality, 1, instance
    dataset.Manufacturer, dataset.PatientOrientation = "minipacs", ""
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    return dataset


def with_pixels(dataset: Dataset, rows: int, columns: int, bits: int, pixels: bytes, signed: bool = False) -> Dataset:
    """The image, with *bits* of each pixel in use; three bytes a pixel are RGB."""
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated = 16 if bits > 8 else 8
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, int(signed)
    frame = rows * columns * dataset.BitsAllocated // 8
    dataset.SamplesPerPixel = 3 if len(pixels) == 3 * frame else 1
    dataset.PhotometricInterpretation = "RGB" if dataset.SamplesPerPixel == 3 else "MONOCHROME2"
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0
    dataset.PixelData = pixels
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    return dataset


def slice_of_ct(instance: int) -> Dataset:
    """The phantom in Hounsfield units, a little smaller from slice to slice."""
    dataset = image(CT, "ct", "PHANTOM^CT", "CT", instance)
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = uid("ct.frame"), ""
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [-64, -64, instance * 5], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness, dataset.KVP = [1, 1], 5, 120
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = -1024, 1, "HU"
    dataset.WindowCenter, dataset.WindowWidth = 0, 2000
    return with_pixels(dataset, 128, 128, 12, words(phantom(128, 128, zoom=1.1 - 0.1 * instance), 0, 2500))


def mr() -> Dataset:
    """Signed pixels of 16 bits."""
    dataset = image(MR, "mr", "PHANTOM^MR", "MR")
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.MRAcquisitionType = "SE", "NONE", "2D"
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [-64, -64, 0], [1, 0, 0, 0, 1, 0]
    dataset.FrameOfReferenceUID, dataset.PixelSpacing, dataset.SliceThickness = uid("mr.frame"), [1, 1], 5
    return with_pixels(dataset, 128, 128, 16, words(phantom(128, 128), -1000, 1000), signed=True)


def cr() -> Dataset:
    """A projection radiograph of 12 bits, portrait."""
    dataset = image(CR, "cr", "PHANTOM^CR", "CR")
    dataset.BodyPartExamined, dataset.ViewPosition = "HEAD", "AP"
    return with_pixels(dataset, 150, 120, 12, words(phantom(150, 120), 0, 4095))


def us() -> Dataset:
    """In colours."""
    return with_pixels(image(US, "us", "PHANTOM^US", "US"), 96, 112, 8, colours(phantom(96, 112)))


def sc() -> Dataset:
    """A patient whose name is written in three ways (PS3.5 §6.2.1)."""
    dataset = image(SC, "sc", "Phantom^Größe=幻像^模型=げんぞう^もけい", "OT")
    dataset.ConversionType = "SYN"
    return with_pixels(dataset, 64, 64, 8, octets(phantom(64, 64)))


def frames() -> Dataset:
    """The phantom goes round, in eight frames."""
    dataset = image(MULTI_FRAME_SC, "frames", "PHANTOM^FRAMES", "OT")
    dataset.ConversionType, dataset.BurnedInAnnotation, dataset.PresentationLUTShape = "SYN", "NO", "IDENTITY"
    dataset.NumberOfFrames, dataset.FrameIncrementPointer, dataset.FrameTime = 8, 0x00181063, 125
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    pixels = b"".join(octets(phantom(64, 64, turn=45 * number)) for number in range(8))
    return with_pixels(dataset, 64, 64, 8, pixels)


def travelling() -> Dataset:
    """What `minipacs roundtrip --image` sends: small, of the SOP class that every archive takes."""
    dataset = image(SC, "roundtrip", "PHANTOM^ROUNDTRIP", "OT")
    dataset.ConversionType = "SYN"
    return with_pixels(dataset, 48, 48, 8, octets(phantom(48, 48)))


def run_lengths(dataset: Dataset) -> Dataset:
    """The same image, its pixels in RLE (PS3.5 Annex G)."""
    frame = RLELosslessEncoder.encode(
        dataset.PixelData,
        rows=dataset.Rows,
        columns=dataset.Columns,
        samples_per_pixel=dataset.SamplesPerPixel,
        number_of_frames=1,
        bits_allocated=dataset.BitsAllocated,
        bits_stored=dataset.BitsStored,
        pixel_representation=dataset.PixelRepresentation,
        photometric_interpretation=dataset.PhotometricInterpretation,
        encoding_plugin="pydicom",
    )
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


def big_endian(dataset: Dataset) -> Dataset:
    """The same image, the two bytes of each pixel exchanged."""
    pixels = bytearray(len(dataset.PixelData))
    pixels[0::2], pixels[1::2] = dataset.PixelData[1::2], dataset.PixelData[0::2]
    dataset.PixelData = bytes(pixels)
    return dataset


def save(dataset: Dataset, path: Path, transfer_syntax: UID) -> None:
    """Write a Part 10 file (PS3.10 §7.1)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = transfer_syntax
    meta.ImplementationClassUID, meta.ImplementationVersionName = uid("make"), "MINIPACS_PHANTOM"
    dataset.file_meta = meta
    dataset.save_as(path, enforce_file_format=True)


def make(folder: Path) -> None:
    """Write all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    save(slice_of_ct(1), folder / "ct-1-explicit.dcm", ExplicitVRLittleEndian)
    save(slice_of_ct(2), folder / "ct-2-implicit.dcm", ImplicitVRLittleEndian)
    save(run_lengths(mr()), folder / "mr-rle.dcm", RLELossless)
    save(big_endian(cr()), folder / "cr-big-endian.dcm", ExplicitVRBigEndian)
    save(us(), folder / "us-rgb.dcm", ExplicitVRLittleEndian)
    save(sc(), folder / "sc-utf-8.dcm", ExplicitVRLittleEndian)
    save(frames(), folder / "multi-frame.dcm", ImplicitVRLittleEndian)


def make_package_data(folder: Path) -> None:
    """Write what the package carries."""
    folder.mkdir(parents=True, exist_ok=True)
    save(travelling(), folder / "roundtrip.dcm", ExplicitVRLittleEndian)


if __name__ == "__main__":
    here = Path(__file__).parent
    make(Path(sys.argv[1]) if sys.argv[1:] else here)
    make_package_data(Path(sys.argv[1], "package") if sys.argv[1:] else here.parents[1] / "minipacs" / "services")
