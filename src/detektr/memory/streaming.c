/* streaming.py, by the streaming stores of SSE2, which every x86-64 has.

   No decision is made here: whatever is not rows of bytes that lie side by side is left to numpy's own assignment. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <emmintrin.h>
#include <stdint.h>
#include <string.h>

#define LINE 64        /* bytes; a line that is written whole needs not be read first */
#define AHEAD 2048     /* bytes of the source that are asked for early: the fastest of 0 to 4096 */
#define SHORT_ROW 1024 /* bytes; of a shorter row too much is its two ends */

static void stream_row(char *target, const char *source, size_t count)
{
    size_t head = (size_t)(-(uintptr_t)target % LINE);
    if (head > count)
        head = count;
    memcpy(target, source, head);
    size_t at = head;
    for (; at + LINE <= count; at += LINE) {
        _mm_prefetch(source + at + AHEAD, _MM_HINT_T0); /* beyond the end it does nothing */
        const __m128i *from = (const __m128i *)(source + at);
        __m128i *to = (__m128i *)(target + at);
        __m128i first = _mm_loadu_si128(from), second = _mm_loadu_si128(from + 1);
        __m128i third = _mm_loadu_si128(from + 2), fourth = _mm_loadu_si128(from + 3);
        _mm_stream_si128(to, first);
        _mm_stream_si128(to + 1, second);
        _mm_stream_si128(to + 2, third);
        _mm_stream_si128(to + 3, fourth);
    }
    memcpy(target + at, source + at, count - at);
}

/* Bytes of a row, which lie side by side; 0: they do not. */
static Py_ssize_t row_bytes(const Py_buffer *array)
{
    Py_ssize_t count = array->itemsize == 1 && array->ndim > 1;
    for (int side = array->ndim - 1; side > 0; side--) {
        if (array->strides[side] != count && array->shape[side] > 1)
            return 0;
        count *= array->shape[side];
    }
    return count;
}

static int is_streamed(const Py_buffer *target, const Py_buffer *source)
{
    Py_ssize_t count = row_bytes(target);
    if (count == 0 || count != row_bytes(source) || target->ndim != source->ndim)
        return 0;
    for (int side = 0; side < target->ndim; side++)
        if (target->shape[side] != source->shape[side])
            return 0;
    Py_ssize_t rows = target->shape[0];
    if (target->strides[0] == count && source->strides[0] == count) {
        count *= rows;
        rows = 1;
    }
    if (count < SHORT_ROW)
        return 0;
    Py_BEGIN_ALLOW_THREADS;
    for (Py_ssize_t row = 0; row < rows; row++)
        stream_row((char *)target->buf + row * target->strides[0],
                   (const char *)source->buf + row * source->strides[0], (size_t)count);
    _mm_sfence(); /* streaming stores are seen in any order: all of them before what comes after */
    Py_END_ALLOW_THREADS;
    return 1;
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
    if (PyObject_GetBuffer(target, &into, PyBUF_WRITABLE | PyBUF_STRIDES) == 0) {
        if (PyObject_GetBuffer(source, &from, PyBUF_STRIDES) == 0) {
            is_done = is_streamed(&into, &from);
            PyBuffer_Release(&from);
        }
        PyBuffer_Release(&into);
    }
    PyErr_Clear(); /* what has no such buffer is numpy's to copy, or to refuse */
    if (!is_done && PyObject_SetItem(target, Py_Ellipsis, source) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"stream", (PyCFunction)(void (*)(void))stream, METH_FASTCALL, "See streaming.py."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "streaming", .m_doc = "See streaming.py.", .m_methods = functions,
};

PyMODINIT_FUNC PyInit_streaming(void)
{
    return PyModuleDef_Init(&definition);
}
