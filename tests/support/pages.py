"""Runs the examples of a page by doctest, whose numbers may differ in their last digits."""

import doctest
import re

TIMES = doctest.register_optionflag("TIMES")  # an output of times: its numbers may be any
DECIMAL = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
MOST_UNITS = 2.5  # other processors and NumPys may differ so in the last digit


def last_digit(number):
    """Return the value of one unit of the last digit of a number as it is written."""
    digits, _, power = number.partition("e")
    return 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))


def is_near(want, got):
    """Return whether a number is the wanted one; whole numbers are exact."""
    if not {".", "e"} & set(want):
        return want == got
    value, other = (float(text.replace(",", "")) for text in (want, got))
    return abs(value - other) <= MOST_UNITS * max(map(last_digit, (want, got)))


class Checker(doctest.OutputChecker):
    """Compares the words of outputs exactly, and their decimals within their last digits."""

    def check_output(self, want, got, optionflags):
        """Return whether an output is the wanted one."""
        if super().check_output(want, got, optionflags):
            return True
        if DECIMAL.sub("0", want) != DECIMAL.sub("0", got):
            return False
        numbers = zip(DECIMAL.findall(want), DECIMAL.findall(got), strict=True)
        return bool(optionflags & TIMES) or all(is_near(*pair) for pair in numbers)


def failures(page):
    """Run the examples of a page; return how many of them printed something else."""
    text = page.read_text("utf-8")
    test = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    return doctest.DocTestRunner(Checker(), optionflags=doctest.ELLIPSIS).run(test).failed
