"""What can be asked of any picture: its words are whole, apart, large enough; lines differ."""

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg


def words(figure):
    """Every text that is drawn: titles, labels, ticks inside the view, legends, numbers."""
    found = [*figure.texts, *(t for t in (figure._suptitle, figure._supxlabel) if t is not None)]
    for axis in figure.axes:
        found += [axis.title, *axis.texts]
        if axis.get_legend():
            found += axis.get_legend().get_texts()
        for side in (axis.xaxis, axis.yaxis) if axis.axison else ():
            low, high = sorted(side.get_view_interval())
            ticks = [*side.get_major_ticks(), *side.get_minor_ticks()]
            found += [side.label, *(t.label1 for t in ticks if low <= t.get_loc() <= high)]
    return list({id(t): t for t in found if t.get_visible() and t.get_text().strip()}.values())


def assert_readable(figure, width=800, height=1000, apart=True):
    """At most so many pixels, nothing cut off, no text over another, styles told apart."""
    wide, high = figure.get_size_inches() * figure.dpi
    assert wide <= width and high <= height
    canvas, file = FigureCanvasAgg(figure), io.BytesIO()
    canvas.print_png(file)  # warnings are errors: nothing that layout could not place
    assert file.getvalue().startswith(b"\x89PNG") and len(file.getvalue()) > 2000
    renderer = canvas.get_renderer()
    drawn = figure.get_tightbbox(renderer)  # inches, of everything that is drawn
    slack = 3 / figure.dpi
    assert min(drawn.x0, drawn.y0) >= -slack, f"cut off on the left or below: {drawn}"
    assert drawn.x1 <= wide / figure.dpi + slack and drawn.y1 <= high / figure.dpi + slack
    found = [(text, text.get_window_extent(renderer)) for text in words(figure)]
    for i, (text, box) in enumerate(found):
        assert text.get_fontsize() >= 7.5, text
        assert box.x0 >= -3 and box.x1 <= wide + 3, f"{text} is cut"
        for other, place in found[i + 1 :] if apart else ():
            assert not box.padded(-1.5).overlaps(place.padded(-1.5)), f"{text} over {other}"
    for axis in figure.axes:
        styles = [(str(line._dash_pattern), line.get_marker()) for line in axis.get_lines()]
        assert len(set(styles)) == len(styles), "two lines look the same without colour"
