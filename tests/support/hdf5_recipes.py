"""Valid HDF5 and `.keras` files of strange content, by a recipe in JSON that a fuzzer can change.

HDF5's bytes depend on one another so much that blind changes only damage them. A recipe says which
groups, links, datasets and attributes a file has, and the library writes it.
"""

import contextlib
import io
import json
import warnings
import zipfile

import numpy as np


def packed(data):
    """The file that `data` is, or that it is the recipe of.

    {"attributes", "tree"} makes HDF5, {name: content of the member} a `.keras` archive.
    """
    try:
        recipe = json.loads(data) if data.startswith(b"{") else None
    except (ValueError, RecursionError):
        return data
    if recipe is None:
        return data
    if "tree" in recipe:
        return hdf5(recipe)
    inside = [
        (name, hdf5(part) if isinstance(part, dict) and "tree" in part else json_bytes(part))
        for name, part in recipe.items()
    ]
    return zipped([(name or "?", content) for name, content in inside])


def json_bytes(value):
    return (value if isinstance(value, str) else json.dumps(value)).encode("utf-8", "replace")


def hdf5(recipe):
    """The HDF5 file by a recipe, without what the library refuses to write."""
    import h5py

    image = io.BytesIO()
    with h5py.File(image, "w", libver="latest") as root:
        attributes = recipe.get("attributes")
        for name, value in attributes.items() if isinstance(attributes, dict) else ():
            with contextlib.suppress(Exception):
                root.attrs[name] = json.dumps(value) if isinstance(value, dict) else value
        fill(h5py, root, recipe["tree"])
    return image.getvalue()


def fill(h5py, group, tree):
    """A group's content: an object is a group, a list a dataset, a text a link to what it names.

    What "@name" has is the group's attribute.
    """
    for name, node in tree.items() if isinstance(tree, dict) else ():
        with contextlib.suppress(Exception):
            if name.startswith("@"):
                group.attrs[name[1:]] = node
            elif isinstance(node, dict):
                fill(h5py, group.create_group(name), node)
            elif isinstance(node, list):
                dataset(h5py, group, name, *node)
            elif isinstance(node, str):
                there = node in group.file
                group[name] = group.file[node] if there else h5py.SoftLink(node)
            elif node is None:
                group[name] = h5py.ExternalLink("other.h5", "/")


def dataset(h5py, group, name, kind, dtype, shape):
    size, dtype = int(np.prod(shape, dtype=float)), np.dtype(dtype)
    data = np.zeros(shape, dtype) if size <= 1000 else None
    if kind == "external":
        group.create_dataset(name, shape, dtype, external=[("other", 0, size * dtype.itemsize)])
    elif kind == "virtual":
        group.create_virtual_dataset(name, h5py.VirtualLayout(tuple(shape), dtype))
    elif kind == "empty":
        group.create_dataset(name, data=h5py.Empty(dtype))
    elif kind == "gzip":
        group.create_dataset(name, shape, dtype, data, chunks=True, compression="gzip")
    elif kind == "chunked":
        group.create_dataset(name, shape, dtype, data, chunks=tuple(7 for _ in shape))
    else:
        group.create_dataset(name, shape, dtype, data)


def zipped(members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, warnings.catch_warnings(action="ignore"):
        for name, content in members:  # the warning is about members of one name
            archive.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()
