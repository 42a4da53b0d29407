"""Fashion-MNIST."""

from __future__ import annotations

from typing import ClassVar

from ebmpipe.data.idx import IdxImages


class FashionMNIST(IdxImages):
    """Pictures of clothes, 28 x 28, in the format of MNIST."""

    name = "fashion_mnist"
    revision = 1
    title = "Fashion-MNIST"
    source = "H. Xiao, K. Rasul and R. Vollgraf 2017, Fashion-MNIST, arXiv 1708.07747"
    licence = "MIT"
    # The last is where Debian's package dataset-fashion-mnist puts the files.
    raw_folders = ("fashion-mnist", "fashion_mnist", "/usr/share/datasets/fashion-mnist")
    mirrors = (
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    )
    sha256: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    }
