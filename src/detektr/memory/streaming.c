/* streaming.py, by the streaming stores of AVX-512 where the processor has them, else of SSE2, which every x86-64 has.

   Whatever is not rows of bytes that lie side by side, in memory of its own, is left to numpy's assignment. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define LINE 64    /* bytes; a line that is written whole needs not be read first */
#define AHEAD 12288 /* bytes of the source that are asked for early: well within the smallest first cache, 32 KiB */

static int is_wide; /* whether the processor has AVX-512 */

/* Ask for a line of the source early; never a fault, wherever that is. */
static inline void ask_for(const char *source, size_t at)
{
    _mm_prefetch((const char *)((uintptr_t)source + at), _MM_HINT_T0);
}

/* Stream whole lines; returns how many bytes that was. */
static size_t stream_lines(char *target, const char *source, size_t count)
{
    size_t at = 0;
    for (; at + LINE <= count; at += LINE) {
        ask_for(source, at + AHEAD);
        const __m128i *from = (const __m128i *)(source + at);
        __m128i *to = (__m128i *)(target + at);
        __m128i first = _mm_loadu_si128(from), second = _mm_loadu_si128(from + 1);
        __m128i third = _mm_loadu_si128(from + 2), fourth = _mm_loadu_si128(from + 3);
        _mm_stream_si128(to, first);
        _mm_stream_si128(to + 1, second);
        _mm_stream_si128(to + 2, third);
        _mm_stream_si128(to + 3, fourth);
    }
    return at;
}

__attribute__((target("avx512f"))) static size_t stream_lines_wide(char *target, const char *source, size_t count)
{
    size_t at = 0;
    for (; at + LINE <= count; at += LINE) {
        ask_for(source, at + AHEAD);
        _mm512_stream_si512((void *)(target + at), _mm512_loadu_si512((const void *)(source + at)));
    }
    return at;
}

static void stream_row(char *target, const char *source, size_t count)
{
    size_t begin = (size_t)(-(uintptr_t)target % LINE);
    if (begin > count)
        begin = count;
    memcpy(target, source, begin);
    target += begin, source += begin, count -= begin;
    size_t done = (is_wide ? stream_lines_wide : stream_lines)(target, source, count);
    memcpy(target + done, source + done, count - done);
}

/* Bytes of what one step of the first side leads to, if they lie side by side; 0: they do not, or are no uint8. */
static Py_ssize_t row_bytes(const Py_buffer *array)
{
    if (array->ndim < 1 || array->format == NULL || strcmp(array->format, "B") != 0)
        return 0;
    Py_ssize_t count = 1;
    for (int side = array->ndim - 1; side > 0; side--) {
        if (array->strides[side] != count && array->shape[side] > 1)
            return 0;
        count *= array->shape[side];
    }
    return count;
}

static int is_apart(const Py_buffer *one, const Py_buffer *other, Py_ssize_t count)
{
    Py_ssize_t reach = (one->shape[0] - 1) * one->strides[0], other_reach = (other->shape[0] - 1) * other->strides[0];
    uintptr_t begin = (uintptr_t)one->buf + (reach < 0 ? reach : 0);
    uintptr_t end = (uintptr_t)one->buf + (reach > 0 ? reach : 0) + count;
    uintptr_t other_begin = (uintptr_t)other->buf + (other_reach < 0 ? other_reach : 0);
    uintptr_t other_end = (uintptr_t)other->buf + (other_reach > 0 ? other_reach : 0) + count;
    return end <= other_begin || other_end <= begin;
}

/* Copy, if that is ours to do; else return 0. */
static int copy_streamed(const Py_buffer *target, const Py_buffer *source)
{
    Py_ssize_t count = row_bytes(target);
    if (count == 0 || count != row_bytes(source) || target->ndim != source->ndim)
        return 0;
    for (int side = 0; side < target->ndim; side++)
        if (target->shape[side] != source->shape[side])
            return 0;
    Py_ssize_t rows = target->shape[0];
    if (rows == 0 || !is_apart(target, source, count))
        return 0;
    if (target->strides[0] == count && source->strides[0] == count) {
        count *= rows;
        rows = 1;
    }
    if (rows > 1 && target->ndim == 1)
        return 0;
    Py_BEGIN_ALLOW_THREADS;
    for (Py_ssize_t row = 0; row < rows; row++)
        stream_row((char *)target->buf + row * target->strides[0],
                   (const char *)source->buf + row * source->strides[0], (size_t)count);
    _mm_sfence(); /* streaming stores are seen in any order: all of them before what comes after */
    Py_END_ALLOW_THREADS;
    return 1;
}

/* Look at an array's memory: 1; 0: it has none to be looked at so; -1: an exception is set. */
static int look_at(PyObject *array, Py_buffer *buffer, int flags)
{
    if (PyObject_GetBuffer(array, buffer, flags) == 0)
        return 1;
    if (!PyErr_ExceptionMatches(PyExc_BufferError) && !PyErr_ExceptionMatches(PyExc_ValueError)
        && !PyErr_ExceptionMatches(PyExc_TypeError))
        return -1;
    PyErr_Clear(); /* numpy will copy it, or say what is wrong */
    return 0;
}

static PyObject *stream(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 2) {
        PyErr_Format(PyExc_TypeError, "stream() takes a target and a source, not %zd arguments", count);
        return NULL;
    }
    PyObject *target = arguments[0], *source = arguments[1];
    Py_buffer into, from;
    int is_done = 0;
    int found = look_at(target, &into, PyBUF_WRITABLE | PyBUF_STRIDES | PyBUF_FORMAT);
    if (found > 0) {
        found = look_at(source, &from, PyBUF_STRIDES | PyBUF_FORMAT);
        if (found > 0) {
            is_done = copy_streamed(&into, &from);
            PyBuffer_Release(&from);
        }
        PyBuffer_Release(&into);
    }
    if (found < 0 || (!is_done && PyObject_SetItem(target, Py_Ellipsis, source) < 0))
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *use_wide(PyObject *module, PyObject *flag)
{
    int wanted = PyObject_IsTrue(flag);
    if (wanted < 0)
        return NULL;
    is_wide = wanted && __builtin_cpu_supports("avx512f");
    return PyBool_FromLong(is_wide);
}

static PyMethodDef functions[] = {
    {"stream", (PyCFunction)(void (*)(void))stream, METH_FASTCALL, "See streaming.py."},
    {"use_wide", use_wide, METH_O, "For tests: stream by AVX-512, where that is; returns whether it is done."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "streaming", .m_doc = "See streaming.py.", .m_methods = functions,
};

PyMODINIT_FUNC PyInit_streaming(void)
{
    is_wide = __builtin_cpu_supports("avx512f") != 0;
    return PyModuleDef_Init(&definition);
}
