"""Write a small set of images in TFDS's own format, without TensorFlow."""

import io
import json

import numpy as np


def encode(pixels, form="PNG", **options):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, form, **options)
    return file.getvalue()


def pixels(n, shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def write_set(
    root,
    name,
    *,
    version="1.0.0",
    sizes=None,
    shape=(6, 5, 3),
    classes=3,
    shards=2,
    form="PNG",
    images=None,
    labels=None,
    file_format="array_record",
    with_label=True,
):
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2

    folder = root / name / version
    folder.mkdir(parents=True)
    splits = []
    for split, n in (sizes or {"train": 30, "test": 12}).items():
        stored = images[split] if images else [encode(p, form) for p in pixels(n, shape, seed=len(split))]
        numbers = labels[split] if labels else [i % classes for i in range(n)]
        lengths = [len(part) for part in np.array_split(np.arange(n), shards)]
        first = 0
        for shard, length in enumerate(lengths):
            base = name.split("/")[0]
            writer = ArrayRecordWriter(
                str(folder / f"{base}-{split}.array_record-{shard:05d}-of-{shards:05d}"), "group_size:1"
            )
            for index in range(first, first + length):
                example = tf_example_pb2.Example()
                example.features.feature["image"].bytes_list.value.append(stored[index])
                if with_label and numbers[index] is not None:
                    example.features.feature["label"].int64_list.value.append(numbers[index])
                writer.write(example.SerializeToString())
            writer.close()
            first += length
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        splits.append(
            {"name": split, "filepathTemplate": template, "numBytes": "1", "shardLengths": [str(n) for n in lengths]}
        )
    describe(folder, name.split("/")[0], version, splits, shape, classes, file_format, with_label)
    return folder


def describe(folder, name, version, splits, shape, classes, file_format, with_label):
    keys = ["image", "label"] if with_label else ["image"]
    info = {
        "name": name,
        "version": version,
        "fileFormat": file_format,
        "splits": splits,
        "supervisedKeys": {"tuple": {"items": [{"featureKey": key} for key in keys]}},
    }
    core = "tensorflow_datasets.core.features"
    features = {
        "image": {
            "pythonClassName": f"{core}.image_feature.Image",
            "image": {"dtype": "uint8", "shape": {"dimensions": [str(side) for side in shape]}},
        },
        "label": {
            "pythonClassName": f"{core}.class_label_feature.ClassLabel",
            "classLabel": {"numClasses": str(classes)},
        },
    }
    table = {
        "pythonClassName": f"{core}.features_dict.FeaturesDict",
        "featuresDict": {"features": {key: features[key] for key in keys}},
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder / "features.json").write_text(json.dumps(table))
