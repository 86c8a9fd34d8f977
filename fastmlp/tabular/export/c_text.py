"""C99 templates for tables: encoding of columns, members, and the blended prediction.

All values are double, except for the networks' own ``real``; see `fastmlp.tabular.encoding`.
"""

from __future__ import annotations

import math
from typing import Any

import fastmlp._export.c_text as text
from fastmlp.tabular.encoding import CLIP, NARROWEST, PRECLIP, SHARED
from fastmlp.tabular.temperature import SMALLEST

LARGEST = "1.7976931348623157e308"

PARAMETERS = "const double *numbers, const int *codes"

DEFINED = """\
/* Places of the columns, and how many there are; others of the fit are not used. */
enum {{
    {numbers}
    {macro}_NUMBERS
}};
enum {{
    {categories}
    {macro}_CATEGORIES
}};
enum {{ {macro}_MISSING = -1, {macro}_UNKNOWN = -2 }}; /* codes of a category */"""

PREDICT = """\
/* {meaning}
   numbers: NaN where missing; an infinity is as the largest number. codes: of categories. Either
   may be null if there are none.{times} y gets {outputs}. Any number of threads may call. */
void {name}_predict({parameters}, double *y);
"""

TIMES = """ Dates are seconds since 1970-01-01 00:00, in UTC if
   they had a time zone; time differences are seconds."""

DISTRIBUTION = """\
/* The same, and as many standard deviations{and_levels}. */
void {name}_distribution(
    {parameters}, double *y, double *deviations{and_quantiles});
"""

CODE = """\
/* The code of a value of a category: text in UTF-8; whole numbers without a point, 2.5, True.
   {macro}_MISSING for null, {macro}_UNKNOWN, as any other code of no value, for all else. */
int {name}_code(int category, const char *text);
/* The value of a code, null if it has none. */
const char *{name}_text(int category, int code);
"""

DERIVE = f"""\
/* The numbers of a row, then those that are computed: of dates the sine of a cycle, or the seconds
 * since another date; the rank of an ordered category. */
static void derive(const double *numbers, const int *codes, double *all)
{{{{
    int i;
    (void)numbers, (void)codes;
    for (i = 0; i < {{n_inputs}}; i++) all[i] = numbers[i];
    for (i = 0; i < {{n_derived}}; i++) {{{{
        const int of = derived_of[i];
        const double by = derived_by[i];
        double value = NAN;
        if (derived_kind[i] == 0)
            value = sin(fmod(numbers[of], by) * ({2 * math.pi!r} / by) + derived_phase[i]);
        else if (derived_kind[i] == 1) value = numbers[of] - numbers[(int)by];
        else if (codes[of] >= 0 && codes[of] < by) value = codes[of];
        all[{{n_inputs}} + i] = value;
    }}}}
}}}}
"""

ENCODE = f"""\
/* A number in robust units, from -3 to 3. */
static double smooth_clip(double value, double centre, double factor)
{{{{
    double scaled;
    if (value > {LARGEST}) value = {LARGEST};
    if (value < -{LARGEST}) value = -{LARGEST};
    scaled = (value - centre) * factor;
    if (scaled > {PRECLIP!r}) scaled = {PRECLIP!r};
    if (scaled < -{PRECLIP!r}) scaled = -{PRECLIP!r};
    return scaled / sqrt(1.0 + (scaled / {CLIP!r}) * (scaled / {CLIP!r}));
}}}}

/* Where a number is in a bin, from -1 to 1; 0 if it is missing. */
static double place_of(double scaled, const double *edges)
{{{{
    const double width = (edges[1] - edges[0]) / 2.0;
    const double half = width > {NARROWEST!r} ? width : {NARROWEST!r};
    const double place = (scaled - (edges[0] + edges[1]) / 2.0) / half;
    if (scaled != scaled) return 0.0;
    return place < -1.0 ? -1.0 : place > 1.0 ? 1.0 : place;
}}}}

/* The inputs of a category; 0 for a value that the member has not learned from. Of many values,
 * those behind the frequent ones share {SHARED} inputs, with signs of their own. */
static void category(int code, int c, const unsigned char *known, real *x)
{{{{
    const int n = value_ends[c + 1] - value_ends[c], width = width_of[c];
    const int frequent = frequent_of[c];
    int j;
    if (code == -1) code = missing_codes[c];
    for (j = 0; j < width; j++) x[j] = 0.0;
    if (code < 0 || code >= n || !known[code]) return;
    if (n <= 2) x[0] = code ? 1.0 : -1.0;
    else if (code < frequent) x[code] = 1.0;
    else {{{{
        const int own = signs[sign_ends[c] + code - frequent];
        for (j = 0; j < {SHARED}; j++)
            x[frequent + j] = (own >> j) & 1 ? {SHARED**-0.5!r} : -{SHARED**-0.5!r};
    }}}}
}}}}

/* The inputs of a network, rounded to float: numbers, which are missing, then categories at their
 * places, and last of these the place of what shows where numbers are in their bins. */
static void encode(const double *numbers, const int *codes, const double *centre,
                   const double *factor, const double *edges, int bins, const unsigned char *known,
                   const int *places, real *x)
{{{{
    double scaled[{{n_scaled}}];
    real *binned = x + places[{{n_categories}}];
    int i, j;
    x[0] = 0.0; /* if there are no columns */
    for (i = 0; i < {{n_numbers}}; i++) {{{{
        scaled[i] = smooth_clip(numbers[i], centre[i], factor[i]);
        x[i] = (float)(scaled[i] != scaled[i] ? 0.0 : scaled[i]);
    }}}}
    for (i = 0; i < {{n_with_missing}}; i++) {{{{
        const int at = with_missing[i];
        x[{{n_numbers}} + i] = scaled[at] != scaled[at] ? 1.0 : 0.0;
    }}}}
    for (i = 0; i < {{n_categories}}; i++)
        category(codes[i], i, known + value_ends[i], x + places[i]);
    for (i = 0; i < {{n_numbers}}; i++, edges += bins + 1)
        for (j = 0; j < bins; j++) *binned++ = (float)place_of(scaled[i], edges + j);
}}}}
"""

# C code that turns a network's output into a member's prediction, by the kind of labels.
DECODE: dict[Any, str] = {
    "largest": """\
/* Probabilities that sum to 1 in double, too. */
static void decode(const real *p, double *y)
{{
    double sum = 0.0;
    int j;
    for (j = 0; j < {columns}; j++) sum += y[j] = (double)p[j];
    for (j = 0; j < {columns}; j++) y[j] /= sum;
}}
""",
    "each": """\
static void decode(const real *p, double *y)
{{
    int j;
    for (j = 0; j < {columns}; j++) y[j] = (double)p[j];
}}
""",
    "divided": """\
/* Probabilities without the weights of classes. */
static void decode(const real *p, const double *centre, const double *factor, const double *low,
                   const double *high, double *y)
{{
    double sum = 0.0;
    int j;
    (void)centre, (void)low, (void)high;
    for (j = 0; j < {columns}; j++) sum += y[j] = (double)p[j] * factor[j];
    for (j = 0; j < {columns}; j++) y[j] /= sum;
}}
""",
    None: """\
/* In the units of the target, within the limits of the member; variances behind means. */
static void decode(const real *p, const double *centre, const double *factor, const double *low,
                   const double *high, double *y)
{{
    int j;
    for (j = 0; j < {outputs}; j++) {{
        y[j] = (double)p[j] * factor[j] + centre[j];
        y[j] = y[j] < low[j] ? low[j] : y[j] > high[j] ? high[j] : y[j];
    }}
    for (j = {outputs}; j < {columns}; j++) {{
        const double unit = factor[j - {outputs}];
        y[j] = (double)p[j] * (unit * unit);
    }}
}}
""",
}

BLEND = """\
/* The means of the members of each recipe, by their shares. */
static void blend({parameters}, double *y)
{{
    double p[{columns}], mean[{columns}] = {{0.0}};
    int j, k;
    for (j = 0; j < {columns}; j++) y[j] = 0.0;
{derived}{groups}}}
"""

DERIVED = """\
    double all[{n_numbers}];
    derive(numbers, codes, all);
    numbers = all;
"""

GROUP = """\
    for (k = 0; k < {n}; k++) {{
        member_{number}(k, numbers, codes, p);
        mix(p, mean, k + 1, {outputs}, {columns});
    }}
    for (j = 0; j < {columns}; j++) y[j] += {share} * mean[j];
"""

# C code that computes the final outputs, by the kind of labels.
FINISH: dict[Any, str] = {
    "largest": text.C["function"]
    .format(name="softmax", body=text.LINKS["softmax"])
    .replace("{", "{{")
    .replace("}", "}}")
    + f"""
void {{name}}_predict({{parameters}}, double *y)
{{{{
    int j;
    blend({{arguments}}, y);
    for (j = 0; j < {{outputs}}; j++)
        y[j] = log(y[j] < {SMALLEST!r} ? {SMALLEST!r} : y[j] > 1.0 ? 1.0 : y[j]) / {{temperature}};
    softmax(y, {{outputs}});
}}}}
""",
    "each": f"""\
void {{name}}_predict({{parameters}}, double *y)
{{{{
    int j;
    blend({{arguments}}, y);
    for (j = 0; j < {{outputs}}; j++) {{{{
        const double most = 1.0 - {SMALLEST!r};
        const double p = y[j] < {SMALLEST!r} ? {SMALLEST!r} : y[j] > most ? most : y[j];
        y[j] = 1.0 / (1.0 + pow((1.0 - p) / p, 1.0 / {{temperature}}));
    }}}}
}}}}
""",
    None: """\
{size}
void {name}_predict({parameters}, double *y)
{{
    double p[{columns}];
    int j;
    blend({arguments}, p);
    for (j = 0; j < {outputs}; j++) y[j] = p[j];
}}

void {name}_distribution(
    {parameters}, double *y, double *deviations{and_quantiles})
{{
    double p[{columns}];
    int j;
    blend({arguments}, p);
    for (j = 0; j < {outputs}; j++) {{
        const double size = size_of(p, j);
        y[j] = p[j];
        deviations[j] = size * rms[j];
{quantiles}    }}
}}
""",
}

LEVELS = """\
        for (int k = 0; k < {levels}; k++, quantiles++) {{
            const double quantile = y[j] + size * offsets[j * {levels} + k];
            *quantiles = quantile < {lowest} ? {lowest} : quantile;
        }}
"""

# Functions for the local size of residuals, with and without predicted variances.
SIZE = {
    True: """\
static double size_of(const double *p, int j)
{{
    return pow(p[{outputs} + j], {power});
}}
""",
    False: """\
/* The size of residuals along the prediction, piecewise linear, constant beyond the ends. */
static double size_of(const double *p, int j)
{{
    int k = place_ends[j];
    if (!(p[j] > places[k])) return sizes[k];
    for (k++; k < place_ends[j + 1]; k++) {{
        const double slope = (sizes[k] - sizes[k - 1]) / (places[k] - places[k - 1]);
        if (p[j] < places[k]) return slope * (p[j] - places[k - 1]) + sizes[k - 1];
    }}
    return sizes[k - 1];
}}
""",
}

LOOKUP = """\
static int compared(const char *a, const char *b)
{{
    if (!b) return -1; /* a missing value stands behind all others */
    for (; *a && *a == *b; a++) b++;
    return (unsigned char)*a - (unsigned char)*b;
}}

int {name}_code(int category, const char *text)
{{
    int low, high;
    if (!text) return {macro}_MISSING;
    if (category < 0 || category >= {n_categories}) return {macro}_UNKNOWN;
    low = value_ends[category];
    high = value_ends[category + 1];
    while (low < high) {{
        const int middle = low + (high - low) / 2, way = compared(text, texts[sorted[middle]]);
        if (way == 0) return sorted[middle] - value_ends[category];
        if (way < 0) high = middle;
        else low = middle + 1;
    }}
    return {macro}_UNKNOWN;
}}

const char *{name}_text(int category, int code)
{{
    if (category < 0 || category >= {n_categories} || code < 0) return 0;
    if (code >= value_ends[category + 1] - value_ends[category]) return 0;
    return texts[value_ends[category] + code];
}}
"""
