"""The files of the page: what they load, and how long they may be."""

import re
from importlib.resources import files

PAGE = files("nanocnn.explore") / "page"
FILES = {file.name: file.read_text("utf-8") for file in PAGE.iterdir() if file.is_file()}
INDEX, MODULES = FILES["index.html"], {name for name in FILES if name.endswith(".js")}
IMPORT = re.compile(r'(?:(?:\}|\* as \w+) from |\bimport\()"(.+?)"')


def test_every_module_is_fetched_at_once_not_one_after_the_other():
    assert sorted(re.findall(r'modulepreload" href="page/(.+?)"', INDEX)) == sorted(MODULES)


def test_every_import_is_a_module_of_the_page():
    for name in MODULES:
        for target in IMPORT.findall(FILES[name]):
            assert target.startswith("nanocnn/"), (name, target)
            assert target.removeprefix("nanocnn/") in MODULES, (name, target)


def test_the_only_inline_script_is_the_import_map_and_nothing_comes_from_elsewhere():
    scripts = re.findall(r"<script(.*?)>(.*?)</script>", INDEX, re.S)
    assert [body for _, body in scripts if body] == ['{"imports": {"nanocnn/": "./page/"}}']
    assert not re.search(r"<style|\sstyle=|\son\w+=", INDEX)
    for name, text in FILES.items():
        assert not re.search(r"(?:src|href|url\(|fetch\(|from )[\"'(=]*(?:https?:)?//", text), name


def test_files_are_short_and_their_lines_too():
    for name, text in FILES.items():
        lines = text.splitlines()
        assert len(lines) <= 350 and max(map(len, lines)) <= 100, name
