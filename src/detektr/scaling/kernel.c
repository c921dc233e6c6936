/* kernel.py, for pictures of bytes: each output sample is a weighted sum of a few source samples of each axis.

   Only those samples are read and converted. Where one or two are asked for of each axis, sums are of 15 bits, which is
   within half a level of the exact ones; else they are floats. Whatever is not rows of bytes is left to numpy. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__gnu_linux__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif

#define ONE 32767 /* the largest weight of 15 bits; 1 itself never is a second sample's */

typedef struct {
    const int32_t *at;      /* [taps][size]: which source sample */
    const float *weights;   /* [taps][size] */
    Py_ssize_t taps, size;
    Py_ssize_t paired;      /* of the first so many, the second sample is the next one, or has no share; 0: not so */
} Axis;

typedef struct {
    int y_offset, y, v_to_red, u_to_blue, u_to_green, v_to_green; /* as FFmpeg's own fast conversion has them */
} Matrix;

typedef struct {
    const uint8_t *planes[3];
    Py_ssize_t strides[3];
    Py_ssize_t nbytes;              /* of plane 0 */
    int channels;                   /* side by side in plane 0; of yuv: 3 */
    Py_ssize_t colour_columns;
    int is_yuv, is_rgb, shift_y;    /* colour planes have half the columns, and half the rows where shift_y is 1 */
    Matrix matrix;
} Source;

typedef struct {
    uint8_t *samples;   /* [lanes][taps][columns] of one source row, or [taps][columns][lanes] where side by side */
    uint8_t *colour;    /* u, v and y of the row */
    uint16_t *pairs;    /* two samples that are next to each other */
    int32_t *halves;    /* of columns in pairs: where the colour of the first is */
    uint8_t *odd;       /* all ones where the second has another colour than the first */
    uint32_t *pixels;   /* a line of them, the last byte of each empty */
    Py_ssize_t colour_row, colour_paired;
    int16_t *weights;   /* of the second sample, 15 bits, for each lane */
    float *wide_weights;
    void *rows;         /* [taps of rows][lanes * columns], int16_t or float */
    Py_ssize_t *row_at; /* which source row each of them is */
    uint8_t *line;
} Work;

/* y, u and v of 8 bits to blue, green and red: to the bit what FFmpeg makes of a whole yuv420p picture on x86. */
WIDE static void convert(uint8_t *restrict blue, uint8_t *restrict green, uint8_t *restrict red,
                         const uint8_t *restrict luma, const uint8_t *restrict cb, const uint8_t *restrict cr,
                         Py_ssize_t count, Matrix m)
{
    const int16_t cy = (int16_t)m.y, offset = (int16_t)m.y_offset, vr = (int16_t)m.v_to_red;
    const int16_t ub = (int16_t)m.u_to_blue, ug = (int16_t)m.u_to_green, vg = (int16_t)m.v_to_green;
    for (Py_ssize_t i = 0; i < count; i++) {
        int16_t y = (int16_t)(luma[i] * 8 - offset), u = (int16_t)(cb[i] * 8 - 1024), v = (int16_t)(cr[i] * 8 - 1024);
        int16_t light = (int16_t)((y * cy) >> 16);
        int16_t b = (int16_t)(light + (int16_t)((u * ub) >> 16));
        int16_t r = (int16_t)(light + (int16_t)((v * vr) >> 16));
        int16_t g = (int16_t)(light + (int16_t)((int16_t)((u * ug) >> 16) + (int16_t)((v * vg) >> 16)));
        b = b < 0 ? 0 : b, g = g < 0 ? 0 : g, r = r < 0 ? 0 : r;
        blue[i] = (uint8_t)(b > 255 ? 255 : b);
        green[i] = (uint8_t)(g > 255 ? 255 : g);
        red[i] = (uint8_t)(r > 255 ? 255 : r);
    }
}

/* Between two samples, times 128. */
WIDE static void between(int16_t *restrict out, const uint8_t *restrict first, const uint8_t *restrict second,
                         const int16_t *restrict weights, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        int16_t step = (int16_t)((second[i] - first[i]) * 128);
        out[i] = (int16_t)(first[i] * 128 + 2 * (int16_t)((step * weights[i]) >> 16));
    }
}

WIDE static void between_rows(uint8_t *restrict out, const int16_t *first, const int16_t *second, int16_t weight,
                              Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        int16_t step = (int16_t)(second[i] - first[i]);
        int16_t sum = (int16_t)(first[i] + 2 * (int16_t)((step * weight) >> 16));
        out[i] = (uint8_t)((int16_t)(sum + 64) >> 7);
    }
}

WIDE static void add_weighted(float *restrict sums, const uint8_t *restrict samples, const float *restrict weights,
                              Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++)
        sums[i] += samples[i] * weights[i];
}

WIDE static void add_row(float *restrict sums, const float *restrict row, float weight, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++)
        sums[i] += row[i] * weight;
}

WIDE static void round_row(uint8_t *restrict out, const float *restrict sums, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        float sum = sums[i] + 0.5f;
        int value = (int)sum;
        out[i] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
    }
}

WIDE static void part(uint8_t *restrict first, uint8_t *restrict second, const uint16_t *restrict pairs,
                      Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) { /* x86 and ARM: the lower byte is the first */
        first[i] = (uint8_t)pairs[i];
        second[i] = (uint8_t)(pairs[i] >> 8);
    }
}

/* Of columns in pairs that share their colour: `odd` is all ones where the second has that of the next pair. */
WIDE static void part_colour(uint8_t *restrict first, uint8_t *restrict second, const uint16_t *restrict pairs,
                             const uint8_t *restrict odd, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        uint8_t low = (uint8_t)pairs[i], high = (uint8_t)(pairs[i] >> 8);
        first[i] = low;
        second[i] = (uint8_t)((low & ~odd[i]) | (high & odd[i]));
    }
}

/* Read one sample for each place. */
static void pick(uint8_t *restrict out, const uint8_t *restrict line, const Axis *columns, uint16_t *restrict pairs)
{
    const int32_t *restrict at = columns->at;
    const Py_ssize_t size = columns->size, paired = columns->paired, count = size * columns->taps;
    if (paired == 0) {
        for (Py_ssize_t i = 0; i < count; i++)
            out[i] = line[at[i]];
        return;
    }
    for (Py_ssize_t i = 0; i < paired; i++)
        memcpy(pairs + i, line + at[i], 2);
    part(out, out + size, pairs, paired);
    for (Py_ssize_t i = paired; i < size; i++)
        out[i] = line[at[i]], out[size + i] = line[at[size + i]];
}

/* The same of a line of colour, which has half as many samples as there are columns. */
static void pick_colour(uint8_t *restrict out, const uint8_t *restrict line, const Axis *columns, Work *work)
{
    const int32_t *restrict at = columns->at, *restrict halves = work->halves;
    const Py_ssize_t size = columns->size, count = size * columns->taps;
    const Py_ssize_t paired = work->colour_paired;
    if (paired == 0) {
        for (Py_ssize_t i = 0; i < count; i++)
            out[i] = line[at[i] >> 1];
        return;
    }
    uint16_t *restrict pairs = work->pairs;
    for (Py_ssize_t i = 0; i < paired; i++)
        memcpy(pairs + i, line + halves[i], 2);
    part_colour(out, out + size, pairs, work->odd, paired);
    for (Py_ssize_t i = paired; i < size; i++)
        out[i] = line[at[i] >> 1], out[size + i] = line[at[size + i] >> 1];
}

WIDE static void side_by_side(uint32_t *restrict out, const uint8_t *restrict first, const uint8_t *restrict second,
                              const uint8_t *restrict third, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++)
        out[i] = (uint32_t)first[i] | (uint32_t)second[i] << 8 | (uint32_t)third[i] << 16;
}

static void read_pixels(uint8_t *restrict out, const uint8_t *restrict line, const int32_t *restrict at,
                        Py_ssize_t begin, Py_ssize_t end, const uint8_t *last)
{
    for (Py_ssize_t i = begin; i < end; i++) { /* four bytes at once, of which the last means nothing */
        const uint8_t *pixel = line + 3 * (Py_ssize_t)at[i];
        if (pixel <= last)
            memcpy(out + 4 * i, pixel, 4);
        else
            memcpy(out + 4 * i, pixel, 3);
    }
}

/* Read the samples of one source row that the columns ask for; returns how many bytes a column has in them. */
static int read_row(const Source *source, const Axis *columns, Py_ssize_t row, Work *work)
{
    const Py_ssize_t count = columns->taps * columns->size;
    const int32_t *restrict at = columns->at;
    const uint8_t *restrict line = source->planes[0] + row * source->strides[0];
    uint8_t *restrict out = work->samples;
    if (source->is_yuv) {
        const Py_ssize_t colour_row = row >> source->shift_y;
        uint8_t *u = work->colour, *v = u + count, *y = v + count;
        pick(y, line, columns, work->pairs);
        if (work->colour_row != colour_row) { /* two rows of brightness share theirs */
            pick_colour(u, source->planes[1] + colour_row * source->strides[1], columns, work);
            pick_colour(v, source->planes[2] + colour_row * source->strides[2], columns, work);
            work->colour_row = colour_row;
        }
        uint8_t *first = out, *last = out + 2 * count;
        convert(source->is_rgb ? last : first, out + count, source->is_rgb ? first : last, y, u, v, count,
                source->matrix);
        return 1;
    }
    if (source->channels == 1) {
        pick(out, line, columns, work->pairs);
        return 1;
    }
    if (source->channels == 2) {
        for (Py_ssize_t i = 0; i < count; i++)
            memcpy(out + 2 * i, line + 2 * (Py_ssize_t)at[i], 2);
        return 2;
    }
    if (source->channels == 4) {
        for (Py_ssize_t i = 0; i < count; i++)
            memcpy(out + 4 * i, line + 4 * (Py_ssize_t)at[i], 4);
        return 4;
    }
    const uint8_t *last = source->planes[0] + source->nbytes - 4;
    Py_ssize_t paired = columns->paired;
    while (paired > 0 && line + 3 * (Py_ssize_t)at[paired - 1] + 4 > last) /* in the last row alone */
        paired--;
    for (Py_ssize_t i = 0; i < paired; i++) {
        uint64_t both;
        memcpy(&both, line + 3 * (Py_ssize_t)at[i], 8);
        const uint32_t first = (uint32_t)both, second = (uint32_t)(both >> 24);
        memcpy(out + 4 * i, &first, 4);
        memcpy(out + 4 * (columns->size + i), &second, 4);
    }
    if (paired == 0) {
        read_pixels(out, line, at, 0, count, last);
    } else {
        read_pixels(out, line, at, paired, columns->size, last);
        read_pixels(out, line, at, columns->size + paired, count, last);
    }
    return 4;
}

/* Write a line of planes, or of pixels of four bytes of which the last means nothing, as pixels side by side. */
static void write_line(uint8_t *target, const uint8_t *line, Py_ssize_t columns, const Source *source, uint32_t *pixels,
                       int is_last)
{
    if (source->channels != 3) {
        memcpy(target, line, (size_t)(columns * source->channels));
        return;
    }
    if (source->is_yuv) {
        side_by_side(pixels, line, line + columns, line + 2 * columns, columns);
        line = (const uint8_t *)pixels;
    }
    const Py_ssize_t wide = columns - is_last; /* the last pixel of all has nothing behind it */
    for (Py_ssize_t i = 0; i < wide; i++)
        memcpy(target + 3 * i, line + 4 * i, 4);
    if (is_last)
        memcpy(target + 3 * wide, line + 4 * wide, 3);
}

/* Make one source row as wide as the target, in the place that it has among the rows kept. */
static void make_row(const Source *source, const Axis *columns, Py_ssize_t row, Work *work, void *out, int is_narrow)
{
    const Py_ssize_t count = columns->size;
    const int side_by_side = read_row(source, columns, row, work); /* bytes of a column */
    const int planes = source->is_yuv ? 3 : 1;
    const Py_ssize_t lanes = count * side_by_side, apart = lanes * columns->taps;
    for (int plane = 0; plane < planes; plane++) {
        const uint8_t *samples = work->samples + plane * apart;
        if (is_narrow) {
            between((int16_t *)out + plane * lanes, samples, samples + (columns->taps - 1) * lanes, work->weights, lanes);
            continue;
        }
        float *sums = (float *)out + plane * lanes;
        memset(sums, 0, sizeof(float) * (size_t)lanes);
        for (Py_ssize_t tap = 0; tap < columns->taps; tap++)
            add_weighted(sums, samples + tap * lanes, work->wide_weights + tap * lanes, lanes);
    }
}

static int16_t narrow(float weight)
{
    float scaled = weight * 32768.0f + 0.5f;
    return (int16_t)(scaled < 0 ? 0 : scaled > ONE ? ONE : scaled);
}

/* Scale; returns 0 where there is no memory for it. */
static int scale(uint8_t *target, const Source *source, const Axis *columns, const Axis *rows)
{
    const int is_narrow = columns->taps <= 2 && rows->taps <= 2;
    const int bytes = source->is_yuv || source->channels == 1 ? 1 : source->channels == 2 ? 2 : 4; /* of a column */
    const int planes = source->is_yuv ? 3 : 1;
    const Py_ssize_t lanes = columns->size * bytes, all = lanes * planes, count = columns->taps * columns->size;
    const size_t sample = is_narrow ? sizeof(int16_t) : sizeof(float);
    Work work = {.colour_row = -1};
    const size_t sizes[] = {
        (size_t)(all * columns->taps), (size_t)(3 * count), sizeof(uint16_t) * (size_t)columns->size,
        sizeof(int32_t) * (size_t)columns->size, (size_t)columns->size, sizeof(uint32_t) * (size_t)columns->size,
        sizeof(int16_t) * (size_t)lanes, is_narrow ? 0 : sizeof(float) * (size_t)(lanes * columns->taps),
        sample * (size_t)(all * (rows->taps + 1)), /* the last row is for sums */
        sizeof(Py_ssize_t) * (size_t)rows->taps, (size_t)all,
    };
    void **const parts[] = {
        (void **)&work.samples, (void **)&work.colour, (void **)&work.pairs, (void **)&work.halves, (void **)&work.odd,
        (void **)&work.pixels, (void **)&work.weights, (void **)&work.wide_weights, &work.rows, (void **)&work.row_at,
        (void **)&work.line,
    };
    enum { PARTS = sizeof sizes / sizeof *sizes, ALIGNED = 64 };
    size_t needed = ALIGNED;
    for (int part_of = 0; part_of < PARTS; part_of++)
        needed += (sizes[part_of] + ALIGNED - 1) / ALIGNED * ALIGNED;
    char *const memory = malloc(needed), *next = memory;
    if (memory != NULL)
        next += (ALIGNED - (uintptr_t)memory % ALIGNED) % ALIGNED;
    for (int part_of = 0; memory != NULL && part_of < PARTS; part_of++) {
        *parts[part_of] = next;
        next += (sizes[part_of] + ALIGNED - 1) / ALIGNED * ALIGNED;
    }
    const int has_room = memory != NULL;
    if (has_room) {
        const float *second = columns->weights + (columns->taps - 1) * columns->size;
        for (Py_ssize_t i = 0; i < lanes; i++)
            work.weights[i] = columns->taps == 2 ? narrow(second[i / bytes]) : 0;
        for (Py_ssize_t i = 0; !is_narrow && i < lanes * columns->taps; i++)
            work.wide_weights[i] = columns->weights[i / bytes];
        for (Py_ssize_t tap = 0; tap < rows->taps; tap++)
            work.row_at[tap] = -1;
        if (source->is_yuv)
            for (Py_ssize_t i = 0; i < columns->paired; i++) {
                work.halves[i] = columns->at[i] >> 1;
                work.odd[i] = columns->at[i] & 1 ? 255 : 0;
                if (work.colour_paired == i && work.halves[i] + 1 < source->colour_columns)
                    work.colour_paired++;
            }
        memset(work.samples, 0, (size_t)(all * columns->taps));
        for (Py_ssize_t y = 0; y < rows->size; y++) {
            char *kept = work.rows, *sums = kept + sample * (size_t)(all * rows->taps);
            const char *found[2] = {NULL, NULL};
            if (!is_narrow)
                memset(sums, 0, sample * (size_t)all);
            for (Py_ssize_t tap = 0; tap < rows->taps; tap++) {
                const Py_ssize_t row = rows->at[tap * rows->size + y], place = row % rows->taps;
                char *here = kept + sample * (size_t)(all * place);
                if (work.row_at[place] != row) {
                    make_row(source, columns, row, &work, here, is_narrow);
                    work.row_at[place] = row;
                }
                if (is_narrow)
                    found[tap] = here;
                else
                    add_row((float *)sums, (float *)here, rows->weights[tap * rows->size + y], all);
            }
            if (is_narrow) {
                const int has_two = rows->taps == 2;
                const int16_t weight = has_two ? narrow(rows->weights[rows->size + y]) : 0;
                between_rows(work.line, (const int16_t *)found[0], (const int16_t *)found[has_two], weight, all);
            } else {
                round_row(work.line, (float *)sums, all);
            }
            write_line(target + y * columns->size * source->channels, work.line, columns->size, source, work.pixels,
                       y == rows->size - 1);
        }
    }
    free(memory);
    return has_room;
}

/* ---- what Python hands in ---- */

#define BUFFERS_MAX 8

typedef struct {
    Py_buffer all[BUFFERS_MAX];
    int count;
} Held;

static Py_buffer *hold(Held *held, PyObject *object, int flags)
{
    Py_buffer *buffer = &held->all[held->count];
    if (PyObject_GetBuffer(object, buffer, flags | PyBUF_FORMAT | PyBUF_STRIDES) < 0)
        return NULL;
    held->count++;
    return buffer;
}

static void let_go(Held *held)
{
    while (held->count)
        PyBuffer_Release(&held->all[--held->count]);
}

static int is_bytes(const Py_buffer *buffer)
{
    return buffer->format != NULL && strcmp(buffer->format, "B") == 0;
}

/* Read one axis: sources (taps, size) int32 below `limit`, and their weights, float32, of the same shape. */
static int read_axis(Held *held, Axis *axis, PyObject *at, PyObject *weights, Py_ssize_t size, Py_ssize_t limit)
{
    Py_buffer *places = hold(held, at, PyBUF_C_CONTIGUOUS);
    if (places == NULL)
        return 0;
    Py_buffer *shares = hold(held, weights, PyBUF_C_CONTIGUOUS);
    if (shares == NULL)
        return 0;
    if (places->ndim != 2 || strcmp(places->format, "i") != 0 || shares->ndim != 2 || strcmp(shares->format, "f") != 0
        || shares->shape[0] != places->shape[0] || shares->shape[1] != size || places->shape[1] != size
        || places->shape[0] < 1) {
        PyErr_Format(PyExc_ValueError, "an axis of %zd samples needs places (taps, %zd) of int32 and as many float32",
                     size, size);
        return 0;
    }
    axis->at = places->buf, axis->weights = shares->buf, axis->taps = places->shape[0], axis->size = size;
    for (Py_ssize_t i = 0; i < axis->taps * size; i++)
        if (axis->at[i] < 0 || axis->at[i] >= limit) {
            PyErr_Format(PyExc_ValueError, "sample %d is not one of %zd", (int)axis->at[i], limit);
            return 0;
        }
    axis->paired = 0;
    if (axis->taps == 2)
        while (axis->paired < size && axis->at[axis->paired] + 1 < limit
               && (axis->at[size + axis->paired] == axis->at[axis->paired] + 1
                   || axis->weights[size + axis->paired] == 0))
            axis->paired++;
    return 1;
}

static PyObject *scaled(Held *held, const Source *source, PyObject *const *axes, Py_buffer *target, Py_ssize_t width,
                        Py_ssize_t height)
{
    Axis columns, rows;
    if (!read_axis(held, &columns, axes[0], axes[1], target->shape[1], width)
        || !read_axis(held, &rows, axes[2], axes[3], target->shape[0], height))
        return NULL;
    int is_done;
    Py_BEGIN_ALLOW_THREADS;
    is_done = scale(target->buf, source, &columns, &rows);
    Py_END_ALLOW_THREADS;
    if (!is_done)
        return PyErr_NoMemory();
    Py_RETURN_TRUE;
}

static PyObject *scale_pixels(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 6)
        return PyErr_Format(PyExc_TypeError, "scale_pixels() takes 6 arguments, not %zd", count);
    Held held = {.count = 0};
    PyObject *answer = NULL;
    Py_buffer *target = hold(&held, arguments[0], PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS);
    Py_buffer *pixels = target == NULL ? NULL : hold(&held, arguments[1], 0);
    if (pixels != NULL) {
        const int ndim = pixels->ndim;
        const Py_ssize_t channels = ndim == 3 ? pixels->shape[2] : 1;
        const int is_ours = is_bytes(target) && is_bytes(pixels) && target->ndim == ndim && (ndim == 2 || ndim == 3)
            && (ndim == 2 || target->shape[2] == channels) && channels >= 1 && channels <= 4
            && pixels->strides[ndim - 1] == 1 && pixels->strides[1] == channels
            && pixels->strides[0] >= pixels->shape[1] * channels && pixels->shape[0] > 0;
        if (is_ours) {
            Source source = {.planes = {pixels->buf}, .strides = {pixels->strides[0]}, .channels = (int)channels};
            source.nbytes = pixels->strides[0] * (pixels->shape[0] - 1) + pixels->shape[1] * channels;
            answer = scaled(&held, &source, arguments + 2, target, pixels->shape[1], pixels->shape[0]);
        } else {
            answer = Py_NewRef(Py_False);
        }
    }
    let_go(&held);
    return answer;
}

static PyObject *scale_yuv(PyObject *module, PyObject *arguments)
{
    PyObject *target_array, *planes[3], *axes[4];
    Source source = {.channels = 3, .is_yuv = 1};
    Matrix *m = &source.matrix;
    if (!PyArg_ParseTuple(arguments, "OOOO(iiiiii)pOOOO", &target_array, &planes[0], &planes[1], &planes[2],
                          &m->y_offset, &m->y, &m->v_to_red, &m->u_to_blue, &m->u_to_green, &m->v_to_green,
                          &source.is_rgb, &axes[0], &axes[1], &axes[2], &axes[3]))
        return NULL;
    Held held = {.count = 0};
    PyObject *answer = NULL;
    Py_buffer *buffers[3] = {NULL, NULL, NULL}, *target = hold(&held, target_array, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS);
    if (target == NULL)
        goto done;
    for (int plane = 0; plane < 3; plane++) {
        buffers[plane] = hold(&held, planes[plane], 0);
        if (buffers[plane] == NULL)
            goto done;
        if (!is_bytes(buffers[plane]) || buffers[plane]->ndim != 2 || buffers[plane]->strides[1] != 1
            || buffers[plane]->strides[0] < buffers[plane]->shape[1]) {
            answer = Py_NewRef(Py_False);
            goto done;
        }
        source.planes[plane] = buffers[plane]->buf, source.strides[plane] = buffers[plane]->strides[0];
    }
    const Py_ssize_t height = buffers[0]->shape[0], width = buffers[0]->shape[1], colour_rows = buffers[1]->shape[0];
    source.shift_y = colour_rows != height, source.colour_columns = buffers[1]->shape[1];
    if (!is_bytes(target) || target->ndim != 3 || target->shape[2] != 3 || buffers[2]->shape[0] != colour_rows
        || buffers[1]->shape[1] != (width + 1) / 2 || buffers[2]->shape[1] != (width + 1) / 2
        || (source.shift_y && colour_rows != (height + 1) / 2)) {
        PyErr_SetString(PyExc_ValueError, "expected a target (rows, columns, 3) and planes of yuv420p or yuv422p");
        goto done;
    }
    answer = scaled(&held, &source, axes, target, width, height);
done:
    let_go(&held);
    return answer;
}

static PyMethodDef functions[] = {
    {"scale_pixels", (PyCFunction)(void (*)(void))scale_pixels, METH_FASTCALL,
     "scale_pixels(target, source, columns, column_weights, rows, row_weights, /): scale bytes; False: not done."},
    {"scale_yuv", scale_yuv, METH_VARARGS,
     "scale_yuv(target, y, u, v, matrix, is_rgb, columns, column_weights, rows, row_weights, /): convert and scale."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT, .m_name = "detektr.scaling.kernel", .m_size = -1, .m_methods = functions};

PyMODINIT_FUNC PyInit_kernel(void)
{
    return PyModule_Create(&module_definition);
}
