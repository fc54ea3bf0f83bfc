"""The one file of a particle in a dataset."""


def pair_file(folder, split, index):
    (path,) = (folder / split).glob(f"particle_{index:06d}_*.h5")
    return path
