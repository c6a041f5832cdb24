import numpy as np
import pytest
import torch
from PIL import Image

from marl_hpo_env import image_table
from marl_hpo_env.testing import DataConformance


@pytest.fixture
def folder(tmp_path):
    """Twenty pictures, each of one shade: the i-th of 10 * i."""
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    for i in range(20):
        place = "deep/" if i % 2 else ""
        Image.new("L", (6, 6), 10 * i).save(tmp_path / "photos" / f"{place}p{i}.png")
    return tmp_path


def table(folder, lines, name="labels.csv", encoding="utf-8"):
    (folder / name).write_text("\n".join(lines) + "\n", encoding=encoding)
    return folder / name


def read(folder, lines, **settings):
    return image_table(table(folder, lines), folder / "photos", 6, **settings)


def by_picture(data):
    """Targets by the number of the picture."""
    found = {}
    for x, y in data.splits().values():
        for image, target in zip(x, y, strict=True):
            found[round(float(image[0, 0, 0] * 0.229 + 0.485) * 255 / 10)] = target.tolist()
    return found


def test_a_column_of_words_is_classes_in_the_order_of_the_alphabet(folder):
    data = read(folder, ["file,animal", *(f"p{i}.png,{'dog' if i % 4 else 'cat'}" for i in range(20))])
    assert (data.kind, data.class_names) == ("classes", ("cat", "dog"))
    assert by_picture(data) == {i: int(i % 4 > 0) for i in range(20)}
    assert data.notes[0].startswith("Read 20 images of 2 classes, cat 5, dog 15; ")
    assert data.notes[1] == "In labels.csv, 'file' names the images and 'animal' their classes."


def test_numbers_of_classes_are_in_their_order_and_need_to_be_said(folder, refused):
    lines = ["file,grade", *(f"p{i}.png,{9 + i % 3}" for i in range(20))]
    with refused("The columns 'grade' of", "may be classes, labels or values; say which kind"):
        read(folder, lines)
    data = read(folder, lines, kind="classes")
    assert data.class_names == ("9", "10", "11")
    assert by_picture(data) == {i: i % 3 for i in range(20)}


def test_a_column_of_decimals_is_values(folder):
    data = read(folder, ["file,age", *(f"p{i}.png,{i + 0.5}" for i in range(20))])
    assert (data.kind, data.class_names, data.train[1].dtype) == ("values", ("age",), torch.float32)
    assert by_picture(data) == {i: [i + 0.5] for i in range(20)}
    whole = read(folder, ["file,age", *(f"p{i}.png,{i}" for i in range(20))], kind="values")
    assert by_picture(whole) == {i: [float(i)] for i in range(20)}
    assert [len(x) for x, _ in whole.splits().values()] == [14, 3, 3]


def test_several_columns_of_numbers_are_values_and_of_0_and_1_labels(folder):
    places = read(folder, ["file,x,y", *(f"p{i}.png,{i},{-i}" for i in range(20))])
    assert (places.kind, places.class_names) == ("values", ("x", "y"))
    assert by_picture(places) == {i: [float(i), float(-i)] for i in range(20)}
    several = read(folder, ["file,red,dark", *(f"p{i}.png,{i % 2},{'true' if i < 9 else 'False'}" for i in range(20))])
    assert (several.kind, several.class_names) == ("labels", ("red", "dark"))
    assert by_picture(several) == {i: [float(i % 2), float(i < 9)] for i in range(20)}


def test_columns_that_are_one_hot_are_classes_and_that_is_said(folder):
    data = read(folder, ["file,red,blue", *(f"p{i}.png,{i % 2},{1 - i % 2}" for i in range(20))])
    assert (data.kind, data.class_names) == ("classes", ("red", "blue"))
    assert by_picture(data) == {i: 1 - i % 2 for i in range(20)}
    assert "one-hot" in str(data.notes)
    assert (
        read(folder, ["file,a,b", *(f"p{i}.png,{i % 2},{1 - i % 2}" for i in range(20))], kind="labels").kind
        == "labels"
    )


@pytest.mark.parametrize("separator", ["|", " ", ";", ", "])
def test_a_column_of_several_words_is_labels_where_that_is_said(folder, separator):
    cells = ["sea" if i % 2 else separator.join(["sea", "sky"]) for i in range(20)]
    data = read(folder, ["file,tags", *(f'p{i}.png,"{cell}"' for i, cell in enumerate(cells))], kind="labels")
    assert (data.kind, data.class_names) == ("labels", ("sea", "sky"))
    assert by_picture(data) == {i: [1.0, float(i % 2 == 0)] for i in range(20)}


def test_columns_are_chosen_and_files_found_by_path_or_name_with_or_without_ending(folder):
    names = [f"photos/deep/p{i}.png" if i % 2 else f"p{i}" for i in range(20)]  # as from the folder above
    lines = [",patient,id,age,remark"] + [f"{i},s{i // 4},{name},{i}.5,fine" for i, name in enumerate(names)]
    data = read(folder, lines, target=["age"], groups="patient")
    assert (data.kind, data.class_names) == ("values", ("age",))
    assert by_picture(data) == {i: [i + 0.5] for i in range(20)}
    parts = [{int(target) // 4 for target in y[:, 0]} for _, y in data.splits().values()]
    assert [len(x) for x, _ in data.splits().values()] == [12, 4, 4]
    assert set.union(*parts) == set(range(5))
    assert sum(map(len, parts)) == 5


def test_classes_are_in_proportion_beside_groups(folder):
    lines = ["file,animal,patient"] + [f"p{i},{'ab'[i % 2]},{i // 2}" for i in range(20)]
    data = read(folder, lines, groups="patient")
    assert [y.bincount().tolist() for _, y in data.splits().values()] == [[8, 8], [1, 1], [1, 1]]


def test_a_column_of_parts_divides_the_images(folder):
    parts = ["Train"] * 12 + ["valid"] * 5 + ["test"] * 3
    lines = ["file,age,split"] + [f"p{i},{i}.5,{part}" for i, part in enumerate(parts)]
    data = read(folder, lines)
    assert data.class_names == ("age",)
    assert [sorted(y[:, 0].tolist()) for _, y in data.splits().values()] == [
        [i + 0.5 for i in part] for part in (range(12), range(12, 17), range(17, 20))
    ]
    two = read(folder, ["file,age,split"] + [f"p{i},{i}.5,{'train' if i < 14 else 'test'}" for i in range(20)])
    assert [len(x) for x, _ in two.splits().values()] == [12, 2, 6]
    assert "There is no validation part: 2 of the training" in str(two.notes)


def test_a_group_in_two_parts_is_refused(folder, refused):
    lines = ["file,age,split,patient"] + [f"p{i},{i}.5,{'train' if i < 14 else 'test'},{i // 3}" for i in range(20)]
    with refused("The group '4' is in train and in test"):
        read(folder, lines, groups="patient")


@pytest.mark.parametrize(("separator", "encoding"), [(";", "utf-8"), ("\t", "utf-8"), (",", "utf-8-sig")])
def test_tables_as_spreadsheets_write_them_are_read(folder, separator, encoding):
    lines = [
        separator.join(("file", "tier")),
        *(separator.join((f"p{i}.png", "bär" if i % 2 else "wal")) for i in range(20)),
    ]
    data = image_table(table(folder, lines, encoding=encoding), folder / "photos", 6)
    assert data.class_names == ("bär", "wal")
    assert data.notes[1] == "In labels.csv, 'file' names the images and 'tier' their classes."


def test_numbers_with_a_decimal_comma_are_values_where_that_is_said(folder, refused):
    lines = ["file;age", *(f"p{i}.png;{i},5" for i in range(20))]
    with refused("The columns 'age' of", "may be classes, labels or values"):
        read(folder, lines)
    assert by_picture(read(folder, lines, kind="values")) == {i: [i + 0.5] for i in range(20)}


def test_numbers_of_lines_are_no_target(folder):
    data = read(folder, ["Unnamed: 0,,file,age", *(f"{i},{i},p{i}.png,{i}.5" for i in range(20))])
    assert data.class_names == ("age",)


def test_files_are_found_in_any_case_and_first_as_they_are_written(folder):
    lines = ["file,age", *(f"PHOTOS\\P{i}.PNG,{i}.5" for i in range(20))]
    assert by_picture(read(folder, lines)) == {i: [i + 0.5] for i in range(20)}
    Image.new("L", (6, 6), 200).save(folder / "photos" / "P0.png")
    lines = ["file,age", *(f"p{i}.png,{i}.5" for i in range(20)), "P0.png,20.5"]
    assert by_picture(read(folder, lines)) == {i: [i + 0.5] for i in range(21)}


def test_a_table_without_names_of_columns_is_refused(folder, refused):
    with refused(
        "The first line of", "names the image 'p0.png'; give it one before that with the names of the columns"
    ):
        read(folder, [f"p{i}.png,{i}.5" for i in range(20)])
    Image.new("L", (6, 6), 200).save(folder / "photos" / "file.png")
    assert len(by_picture(read(folder, ["file,age", *(f"p{i}.png,{i}.5" for i in range(20))]))) == 20


def test_what_is_lacking_is_left_out_and_counted(folder):
    lines = ["file,animal", *(f"p{i}.png,{'' if i == 3 else 'ab'[i % 2]}" for i in range(18))]
    lines += ["gone.png,a", "lost.png,b", "p4.png,a"]
    (folder / "photos" / "deep" / "p5.png").write_bytes(b"x")
    (folder / "photos" / "read.me").write_text("x")
    data = read(folder, lines)
    assert sorted(by_picture(data)) == sorted({*range(18)} - {3, 5})
    for note in (
        "2 lines of the table name images that are not there and are left out, such as that of 'gone.png'.",
        "1 lines of the table have an empty cell and are left out, such as that of 'p3.png'.",
        "1 lines of the table repeat another and are left out.",
        "1 of 17 images in",
        "3 files (3 .png), such as deep/p19.png, are left out:",
        "1 files (1 .me), such as read.me",
    ):
        assert note in " ".join(data.notes)


@pytest.mark.parametrize(
    ("lines", "settings", "words"),
    [
        (["file,age"], {}, ("has 0 lines of 2 columns",)),
        (["file", "p1.png"], {}, ("has 1 lines of 1 columns",)),
        (["file,age,age", "p1,2,3"], {}, ("has 2 columns 'age'",)),
        (["file,age", "x1,2.5"], {}, ("No column of", "names images in", "begins with 'x1'")),
        (["file,age", "p1,2.5"], {"target": ["aeg"]}, ("There is no column in", "'aeg'; did you mean 'age'?")),
        (["file,age", "p1,2.5"], {"groups": "patient"}, ("There is no column in", "'patient'")),
        (["file,age", "p1,2.5", "p2,old"], {"kind": "values"}, ("column 'age' of", "holds 'old'; values are numbers")),
        (["file,a,b", "p1,1,0", "p2,1,2"], {"kind": "labels"}, ("column 'b' of", "holds '2'; labels are 0 and 1")),
        (["file,a,b", "p1,1,0", "p2,1,x"], {}, ("The columns 'a', 'b' of", "say which kind")),
        (["file,a", "p1,x", "p1,y"], {}, ("two lines for 'p1'", "keep one")),
        (["file,a", "p1,x"], {"kind": "masks"}, ("There is no kind of targets in a table 'masks'",)),
        (["file,a", "p1,x", "p2,y", "p3,x", "p4,x"], {}, ("three examples of every class; class y has 1",)),
        (["file,split", "p1,train"], {}, ("has no column but file, split",)),
        (
            ["file,a,g", *(f"p{i},{'xy'[i % 2]},{i % 2}" for i in range(6))],
            {"groups": "g"},
            ("There are 2 groups", "3 parts"),
        ),
    ],
)
def test_tables_that_cannot_be_used_are_one_sentence(folder, refused, lines, settings, words):
    with refused(*words):
        read(folder, lines, **settings)


def test_a_name_in_two_places_is_refused(folder, refused):
    Image.new("L", (6, 6)).save(folder / "photos" / "p1.png")
    with refused("The image 'p1.png' in", "may be 'deep/p1.png' or 'p1.png'; write its path"):
        read(folder, ["file,age", *(f"p{i}.png,{i}.5" for i in range(20))])


def test_no_table_and_no_folder_are_refused(folder, refused):
    with refused("nowhere.csv' cannot be read: No such file"):
        image_table(folder / "nowhere.csv", folder / "photos", 6)
    with refused("There is no folder", "nowhere"):
        image_table(table(folder, ["file,a"]), folder / "nowhere", 6)
    (folder / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with refused("bytes.csv' cannot be read", "UTF-8"):
        image_table(folder / "bytes.csv", folder / "photos", 6)


class TestATable(DataConformance):
    @pytest.fixture(autouse=True)
    def place(self, folder):
        self.root = folder

    def make(self):
        return read(self.root, ["file,red,dark", *(f"p{i}.png,{i % 2},{int(i < 9)}" for i in range(20))])


def test_pictures_of_16_bits_keep_every_level(folder):
    for i in range(20):
        name = f"deep/p{i}.png" if i % 2 else f"p{i}.png"
        Image.fromarray(np.full((6, 6), 4095 - i, dtype=np.uint16)).save(folder / "photos" / name)
    data = read(folder, ["file,age", *(f"p{i}.png,{i + 0.5}" for i in range(20))])
    assert len(torch.cat([x for x, _ in data.splits().values()])[:, 0].unique()) == 20
    assert data.reading.bits == 12
