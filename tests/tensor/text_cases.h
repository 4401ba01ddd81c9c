/* text_cases.h: tensors and their texts, as NumPy 2.4.6 wrote them.
 *
 * Each row was made from an array `a` by str(a), repr(a) and str(a.tolist()) under
 * numpy.set_printoptions with the row's options, where 0 stands for NumPy's default and a precision
 * of -1 for 0. The values are the array's in row-major order, as doubles; of a complex number the
 * real part and then the imaginary one.
 */
#ifndef TESTS_TEXT_CASES_H
#define TESTS_TEXT_CASES_H

#include <math.h>

#include "tensor/tarn_text.h"

typedef struct text_case {
  const char *name, *dtype;
  int32_t rank;
  int64_t shape[4];
  int32_t precision;
  int64_t threshold, edge_items, line_width;
  bool suppress_small;
  double values[120];
  const char *str, *repr, *list;
} text_case;

/* In place of values that count from 0. */
#define COUNTING 1e77

static const text_case text_cases[] = {
    {.name = "whole floats",
     .dtype = "float64",
     .rank = 1,
     .shape = {3},
     .values = {1, 2, 3},
     .str = "[1. 2. 3.]",
     .repr = "array([1., 2., 3.])",
     .list = "[1.0, 2.0, 3.0]"},
    {.name = "one long fraction",
     .dtype = "float64",
     .rank = 1,
     .shape = {3},
     .values = {1, 2.5, 3.14159265358979},
     .str = "[1.         2.5        3.14159265]",
     .repr = "array([1.        , 2.5       , 3.14159265])",
     .list = "[1.0, 2.5, 3.14159265358979]"},
    {.name = "negative zero",
     .dtype = "float64",
     .rank = 1,
     .shape = {3},
     .values = {0, -0.0, 1},
     .str = "[ 0. -0.  1.]",
     .repr = "array([ 0., -0.,  1.])",
     .list = "[0.0, -0.0, 1.0]"},
    {.name = "exponents for a small one",
     .dtype = "float64",
     .rank = 1,
     .shape = {2},
     .values = {1, 9.999e-05},
     .str = "[1.000e+00 9.999e-05]",
     .repr = "array([1.000e+00, 9.999e-05])",
     .list = "[1.0, 9.999e-05]"},
    {.name = "no exponents at the limit",
     .dtype = "float64",
     .rank = 1,
     .shape = {2},
     .values = {0.0001, 0.1},
     .str = "[0.0001 0.1   ]",
     .repr = "array([0.0001, 0.1   ])",
     .list = "[0.0001, 0.1]"},
    {.name = "exponents for a ratio above a thousand",
     .dtype = "float64",
     .rank = 1,
     .shape = {2},
     .values = {1, 1000.1},
     .str = "[1.0000e+00 1.0001e+03]",
     .repr = "array([1.0000e+00, 1.0001e+03])",
     .list = "[1.0, 1000.1]"},
    {.name = "no exponents for a ratio of a thousand",
     .dtype = "float64",
     .rank = 1,
     .shape = {2},
     .values = {1, 1000},
     .str = "[   1. 1000.]",
     .repr = "array([   1., 1000.])",
     .list = "[1.0, 1000.0]"},
    {.name = "exponents from 1e8 on",
     .dtype = "float64",
     .rank = 1,
     .shape = {2},
     .values = {100000000, 10000000},
     .str = "[1.e+08 1.e+07]",
     .repr = "array([1.e+08, 1.e+07])",
     .list = "[100000000.0, 10000000.0]"},
    {.name = "no exponents below 1e8",
     .dtype = "float64",
     .rank = 1,
     .shape = {2},
     .values = {99999999, 10000000},
     .str = "[99999999. 10000000.]",
     .repr = "array([99999999., 10000000.])",
     .list = "[99999999.0, 10000000.0]"},
    {.name = "float32 has exponents from 1e6 on",
     .dtype = "float32",
     .rank = 1,
     .shape = {2},
     .values = {1000000, 999999},
     .str = "[1.00000e+06 9.99999e+05]",
     .repr = "array([1.00000e+06, 9.99999e+05], dtype=float32)",
     .list = "[1000000.0, 999999.0]"},
    {.name = "float16 has exponents from 1e3 on",
     .dtype = "float16",
     .rank = 1,
     .shape = {2},
     .values = {1000, 999},
     .str = "[1.00e+03 9.99e+02]",
     .repr = "array([1.00e+03, 9.99e+02], dtype=float16)",
     .list = "[1000.0, 999.0]"},
    {.name = "float32 0.1",
     .dtype = "float32",
     .rank = 1,
     .shape = {3},
     .values = {0.10000000149011612, 0.20000000298023224, 0.3333333432674408},
     .str = "[0.1        0.2        0.33333334]",
     .repr = "array([0.1       , 0.2       , 0.33333334], dtype=float32)",
     .list = "[0.10000000149011612, 0.20000000298023224, 0.3333333432674408]"},
    {.name = "float16 0.1",
     .dtype = "float16",
     .rank = 1,
     .shape = {3},
     .values = {0.0999755859375, 0.199951171875, 0.333251953125},
     .str = "[0.1    0.2    0.3333]",
     .repr = "array([0.1   , 0.2   , 0.3333], dtype=float16)",
     .list = "[0.0999755859375, 0.199951171875, 0.333251953125]"},
    {.name = "columns filled with the value's own digits",
     .dtype = "float32",
     .rank = 1,
     .shape = {3},
     .values = {1.000000013351432e-10, 0.10000000149011612, 123.45600128173828},
     .str = "[1.00000e-10 1.00000e-01 1.23456e+02]",
     .repr = "array([1.00000e-10, 1.00000e-01, 1.23456e+02], dtype=float32)",
     .list = "[1.000000013351432e-10, 0.10000000149011612, 123.45600128173828]"},
    {.name = "three digits of an exponent",
     .dtype = "float64",
     .rank = 1,
     .shape = {2},
     .values = {1e-100, 1e+100},
     .str = "[1.e-100 1.e+100]",
     .repr = "array([1.e-100, 1.e+100])",
     .list = "[1e-100, 1e+100]"},
    {.name = "the largest and the smallest",
     .dtype = "float64",
     .rank = 1,
     .shape = {3},
     .values = {1.7976931348623157e+308, 5e-324, 2.2250738585072014e-308},
     .str = "[1.79769313e+308 4.94065646e-324 2.22507386e-308]",
     .repr = "array([1.79769313e+308, 4.94065646e-324, 2.22507386e-308])",
     .list = "[1.7976931348623157e+308, 5e-324, 2.2250738585072014e-308]"},
    {.name = "nan and infinities",
     .dtype = "float64",
     .rank = 1,
     .shape = {4},
     .values = {NAN, INFINITY, -INFINITY, 1},
     .str = "[ nan  inf -inf   1.]",
     .repr = "array([ nan,  inf, -inf,   1.])",
     .list = "[nan, inf, -inf, 1.0]"},
    {.name = "nan and positive infinity",
     .dtype = "float64",
     .rank = 1,
     .shape = {3},
     .values = {NAN, INFINITY, 1},
     .str = "[nan inf  1.]",
     .repr = "array([nan, inf,  1.])",
     .list = "[nan, inf, 1.0]"},
    {.name = "nothing finite",
     .dtype = "float64",
     .rank = 1,
     .shape = {2},
     .values = {NAN, -INFINITY},
     .str = "[ nan -inf]",
     .repr = "array([ nan, -inf])",
     .list = "[nan, -inf]"},
    {.name = "nan among exponents",
     .dtype = "float64",
     .rank = 1,
     .shape = {2},
     .values = {NAN, 10000000000.0},
     .str = "[   nan 1.e+10]",
     .repr = "array([   nan, 1.e+10])",
     .list = "[nan, 10000000000.0]"},
    {.name = "a carry over all digits",
     .dtype = "float64",
     .rank = 1,
     .shape = {2},
     .values = {0.999999999999, 9.9999999999},
     .str = "[ 1. 10.]",
     .repr = "array([ 1., 10.])",
     .list = "[0.999999999999, 9.9999999999]"},
    {.name = "a power of two between close values",
     .dtype = "float64",
     .rank = 1,
     .shape = {2},
     .values = {9007199254740992.0, 5.684341886080802e-14},
     .str = "[9.00719925e+15 5.68434189e-14]",
     .repr = "array([9.00719925e+15, 5.68434189e-14])",
     .list = "[9007199254740992.0, 5.684341886080802e-14]"},
    {.name = "half goes to even",
     .dtype = "float64",
     .rank = 1,
     .shape = {4},
     .precision = -1,
     .values = {0.5, 1.5, 2.5, 0.125},
     .str = "[0. 2. 2. 0.]",
     .repr = "array([0., 2., 2., 0.])",
     .list = "[0.5, 1.5, 2.5, 0.125]"},
    {.name = "precision 3",
     .dtype = "float64",
     .rank = 1,
     .shape = {3},
     .precision = 3,
     .values = {3.14159, 2.71828, 1},
     .str = "[3.142 2.718 1.   ]",
     .repr = "array([3.142, 2.718, 1.   ])",
     .list = "[3.14159, 2.71828, 1.0]"},
    {.name = "suppressed",
     .dtype = "float64",
     .rank = 1,
     .shape = {3},
     .suppress_small = true,
     .values = {1e-10, 1, 1000.5},
     .str = "[   0.     1.  1000.5]",
     .repr = "array([   0. ,    1. , 1000.5])",
     .list = "[1e-10, 1.0, 1000.5]"},
    {.name = "suppressed to minus zero",
     .dtype = "float64",
     .rank = 1,
     .shape = {2},
     .suppress_small = true,
     .values = {-1e-12, 1},
     .str = "[-0.  1.]",
     .repr = "array([-0.,  1.])",
     .list = "[-1e-12, 1.0]"},
    {.name = "matrix",
     .dtype = "float64",
     .rank = 2,
     .shape = {2, 3},
     .values = {0, 0.25, 0.5, 0.75, 1, 1.25},
     .str = "[[0.   0.25 0.5 ]\n"
            " [0.75 1.   1.25]]",
     .repr = "array([[0.  , 0.25, 0.5 ],\n"
             "       [0.75, 1.  , 1.25]])",
     .list = "[[0.0, 0.25, 0.5], [0.75, 1.0, 1.25]]"},
    {.name = "three dimensions",
     .dtype = "int64",
     .rank = 3,
     .shape = {2, 3, 2},
     .values = {COUNTING}, /* from 0 */
     .str = "[[[ 0  1]\n"
            "  [ 2  3]\n"
            "  [ 4  5]]\n"
            "\n"
            " [[ 6  7]\n"
            "  [ 8  9]\n"
            "  [10 11]]]",
     .repr = "array([[[ 0,  1],\n"
             "        [ 2,  3],\n"
             "        [ 4,  5]],\n"
             "\n"
             "       [[ 6,  7],\n"
             "        [ 8,  9],\n"
             "        [10, 11]]])",
     .list = "[[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [10, 11]]]"},
    {.name = "four dimensions",
     .dtype = "uint8",
     .rank = 4,
     .shape = {2, 1, 2, 2},
     .values = {0, 1, 2, 3, 4, 5, 6, 7},
     .str = "[[[[0 1]\n"
            "   [2 3]]]\n"
            "\n"
            "\n"
            " [[[4 5]\n"
            "   [6 7]]]]",
     .repr = "array([[[[0, 1],\n"
             "         [2, 3]]],\n"
             "\n"
             "\n"
             "       [[[4, 5],\n"
             "         [6, 7]]]], dtype=uint8)",
     .list = "[[[[0, 1], [2, 3]]], [[[4, 5], [6, 7]]]]"},
    {.name = "bools",
     .dtype = "bool",
     .rank = 2,
     .shape = {2, 2},
     .values = {1, 0, 0, 0},
     .str = "[[ True False]\n"
            " [False False]]",
     .repr = "array([[ True, False],\n"
             "       [False, False]])",
     .list = "[[True, False], [False, False]]"},
    {.name = "int8",
     .dtype = "int8",
     .rank = 1,
     .shape = {3},
     .values = {-128, 0, 127},
     .str = "[-128    0  127]",
     .repr = "array([-128,    0,  127], dtype=int8)",
     .list = "[-128, 0, 127]"},
    {.name = "uint64",
     .dtype = "uint64",
     .rank = 1,
     .shape = {2},
     .values = {0, 9007199254740992.0},
     .str = "[               0 9007199254740992]",
     .repr = "array([               0, 9007199254740992], dtype=uint64)",
     .list = "[0, 9007199254740992]"},
    {.name = "int64 negative",
     .dtype = "int64",
     .rank = 1,
     .shape = {3},
     .values = {-5, 10, 0},
     .str = "[-5 10  0]",
     .repr = "array([-5, 10,  0])",
     .list = "[-5, 10, 0]"},
    {.name = "int32 scalar",
     .dtype = "int32",
     .values = {7},
     .str = "7",
     .repr = "array(7, dtype=int32)",
     .list = "7"},
    {.name = "bool scalar",
     .dtype = "bool",
     .values = {1},
     .str = "True",
     .repr = "array(True)",
     .list = "True"},
    {.name = "float scalar",
     .dtype = "float64",
     .values = {1},
     .str = "1.0",
     .repr = "array(1.)",
     .list = "1.0"},
    {.name = "float32 scalar",
     .dtype = "float32",
     .values = {0.10000000149011612},
     .str = "0.1",
     .repr = "array(0.1, dtype=float32)",
     .list = "0.10000000149011612"},
    {.name = "small float scalar",
     .dtype = "float64",
     .values = {1e-05},
     .str = "1e-05",
     .repr = "array(1.e-05)",
     .list = "1e-05"},
    {.name = "large float scalar",
     .dtype = "float64",
     .values = {1e+16},
     .str = "1e+16",
     .repr = "array(1.e+16)",
     .list = "1e+16"},
    {.name = "float32 scalar of seven digits",
     .dtype = "float32",
     .values = {1000000},
     .str = "1e+06",
     .repr = "array(1.e+06, dtype=float32)",
     .list = "1000000.0"},
    {.name = "nan scalar",
     .dtype = "float64",
     .values = {NAN},
     .str = "nan",
     .repr = "array(nan)",
     .list = "nan"},
    {.name = "complex scalar",
     .dtype = "complex128",
     .values = {1, 2},
     .str = "(1+2j)",
     .repr = "array(1.+2.j)",
     .list = "(1+2j)"},
    {.name = "imaginary scalar",
     .dtype = "complex64",
     .values = {-0.0, -2.5},
     .str = "(-0-2.5j)",
     .repr = "array(-0.-2.5j, dtype=complex64)",
     .list = "(-0-2.5j)"},
    {.name = "complex",
     .dtype = "complex128",
     .rank = 1,
     .shape = {2},
     .values = {1, 2, -0.5, -1.25},
     .str = "[ 1. +2.j   -0.5-1.25j]",
     .repr = "array([ 1. +2.j  , -0.5-1.25j])",
     .list = "[(1+2j), (-0.5-1.25j)]"},
    {.name = "complex64 with nan",
     .dtype = "complex64",
     .rank = 1,
     .shape = {2},
     .values = {NAN, 1, 1, -INFINITY},
     .str = "[nan +1.j  1.-infj]",
     .repr = "array([nan +1.j,  1.-infj], dtype=complex64)",
     .list = "[(nan+1j), (1-infj)]"},
    {.name = "complex of two ranges",
     .dtype = "complex128",
     .rank = 1,
     .shape = {2},
     .values = {1e-05, 100000, 1, 1},
     .str = "[1.e-05+1.e+05j 1.e+00+1.e+00j]",
     .repr = "array([1.e-05+1.e+05j, 1.e+00+1.e+00j])",
     .list = "[(1e-05+100000j), (1+1j)]"},
    {.name = "empty",
     .dtype = "float64",
     .rank = 1,
     .shape = {0},
     .str = "[]",
     .repr = "array([], dtype=float64)",
     .list = "[]"},
    {.name = "empty of two dimensions",
     .dtype = "float64",
     .rank = 2,
     .shape = {2, 0},
     .str = "[]",
     .repr = "array([], shape=(2, 0), dtype=float64)",
     .list = "[[], []]"},
    {.name = "empty int32 of two dimensions",
     .dtype = "int32",
     .rank = 2,
     .shape = {0, 3},
     .str = "[]",
     .repr = "array([], shape=(0, 3), dtype=int32)",
     .list = "[]"},
    {.name = "empty float32",
     .dtype = "float32",
     .rank = 1,
     .shape = {0},
     .str = "[]",
     .repr = "array([], dtype=float32)",
     .list = "[]"},
    {.name = "wrapped lines",
     .dtype = "int64",
     .rank = 1,
     .shape = {30},
     .values = {0,     1000,  2000,  3000,  4000,  5000,  6000,  7000,  8000,  9000,
                10000, 11000, 12000, 13000, 14000, 15000, 16000, 17000, 18000, 19000,
                20000, 21000, 22000, 23000, 24000, 25000, 26000, 27000, 28000, 29000},
     .str = "[    0  1000  2000  3000  4000  5000  6000  7000  8000  9000 10000 11000\n"
            " 12000 13000 14000 15000 16000 17000 18000 19000 20000 21000 22000 23000\n"
            " 24000 25000 26000 27000 28000 29000]",
     .repr = "array([    0,  1000,  2000,  3000,  4000,  5000,  6000,  7000,  8000,\n"
             "        9000, 10000, 11000, 12000, 13000, 14000, 15000, 16000, 17000,\n"
             "       18000, 19000, 20000, 21000, 22000, 23000, 24000, 25000, 26000,\n"
             "       27000, 28000, 29000])",
     .list = "[0, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000, 10000, 11000, 12000, 13000"
             ", 14000, 15000, 16000, 17000, 18000, 19000, 20000, 21000, 22000, 23000, 24000, 25000"
             ", 26000, 27000, 28000, 29000]"},
    {.name = "wrapped lines of floats",
     .dtype = "float64",
     .rank = 1,
     .shape = {20},
     .values = {0,    0.125, 0.25, 0.375, 0.5,  0.625, 0.75, 0.875, 1,    1.125,
                1.25, 1.375, 1.5,  1.625, 1.75, 1.875, 2,    2.125, 2.25, 2.375},
     .str = "[0.    0.125 0.25  0.375 0.5   0.625 0.75  0.875 1.    1.125 1.25  1.375\n"
            " 1.5   1.625 1.75  1.875 2.    2.125 2.25  2.375]",
     .repr = "array([0.   , 0.125, 0.25 , 0.375, 0.5  , 0.625, 0.75 , 0.875, 1.   ,\n"
             "       1.125, 1.25 , 1.375, 1.5  , 1.625, 1.75 , 1.875, 2.   , 2.125,\n"
             "       2.25 , 2.375])",
     .list = "[0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0, 1.125, 1.25, 1.375, 1.5, 1.6"
             "25, 1.75, 1.875, 2.0, 2.125, 2.25, 2.375]"},
    {.name = "narrow lines",
     .dtype = "float64",
     .rank = 2,
     .shape = {2, 6},
     .line_width = 20,
     .values = {0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.25, 2.5, 2.75},
     .str = "[[0.   0.25 0.5\n"
            "  0.75 1.   1.25]\n"
            " [1.5  1.75 2.\n"
            "  2.25 2.5  2.75]]",
     .repr = "array([[0.  ,\n"
             "        0.25,\n"
             "        0.5 ,\n"
             "        0.75,\n"
             "        1.  ,\n"
             "        1.25],\n"
             "       [1.5 ,\n"
             "        1.75,\n"
             "        2.  ,\n"
             "        2.25,\n"
             "        2.5 ,\n"
             "        2.75]])",
     .list = "[[0.0, 0.25, 0.5, 0.75, 1.0, 1.25], [1.5, 1.75, 2.0, 2.25, 2.5, 2.75]]"},
    {.name = "lines narrower than a number",
     .dtype = "int64",
     .rank = 1,
     .shape = {2},
     .line_width = 3,
     .values = {123456, 7},
     .str = "[123456\n"
            "      7]",
     .repr = "array([123456,\n"
             "            7])",
     .list = "[123456, 7]"},
    {.name = "the threshold itself",
     .dtype = "int64",
     .rank = 1,
     .shape = {10},
     .threshold = 10,
     .values = {COUNTING}, /* from 0 */
     .str = "[0 1 2 3 4 5 6 7 8 9]",
     .repr = "array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])",
     .list = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"},
    {.name = "one more than the threshold",
     .dtype = "int64",
     .rank = 1,
     .shape = {11},
     .threshold = 10,
     .values = {COUNTING}, /* from 0 */
     .str = "[ 0  1  2 ...  8  9 10]",
     .repr = "array([ 0,  1,  2, ...,  8,  9, 10], shape=(11,))",
     .list = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"},
    {.name = "edges of one",
     .dtype = "int64",
     .rank = 2,
     .shape = {4, 6},
     .threshold = 5,
     .edge_items = 1,
     .values = {COUNTING}, /* from 0 */
     .str = "[[ 0 ...  5]\n"
            " ...\n"
            " [18 ... 23]]",
     .repr = "array([[ 0, ...,  5],\n"
             "       ...,\n"
             "       [18, ..., 23]], shape=(4, 6))",
     .list = "[[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11], [12, 13, 14, 15, 16, 17], [18, 19, 20, 21"
             ", 22, 23]]"},
    {.name = "edges that meet",
     .dtype = "int64",
     .rank = 1,
     .shape = {6},
     .threshold = 5,
     .edge_items = 3,
     .values = {0, 1, 2, 3, 4, 5},
     .str = "[0 1 2 3 4 5]",
     .repr = "array([0, 1, 2, 3, 4, 5], shape=(6,))",
     .list = "[0, 1, 2, 3, 4, 5]"},
    {.name = "edges in three dimensions",
     .dtype = "int64",
     .rank = 3,
     .shape = {5, 3, 7},
     .threshold = 20,
     .edge_items = 2,
     .values = {COUNTING}, /* from 0 */
     .str = "[[[  0   1 ...   5   6]\n"
            "  [  7   8 ...  12  13]\n"
            "  [ 14  15 ...  19  20]]\n"
            "\n"
            " [[ 21  22 ...  26  27]\n"
            "  [ 28  29 ...  33  34]\n"
            "  [ 35  36 ...  40  41]]\n"
            "\n"
            " ...\n"
            "\n"
            " [[ 63  64 ...  68  69]\n"
            "  [ 70  71 ...  75  76]\n"
            "  [ 77  78 ...  82  83]]\n"
            "\n"
            " [[ 84  85 ...  89  90]\n"
            "  [ 91  92 ...  96  97]\n"
            "  [ 98  99 ... 103 104]]]",
     .repr = "array([[[  0,   1, ...,   5,   6],\n"
             "        [  7,   8, ...,  12,  13],\n"
             "        [ 14,  15, ...,  19,  20]],\n"
             "\n"
             "       [[ 21,  22, ...,  26,  27],\n"
             "        [ 28,  29, ...,  33,  34],\n"
             "        [ 35,  36, ...,  40,  41]],\n"
             "\n"
             "       ...,\n"
             "\n"
             "       [[ 63,  64, ...,  68,  69],\n"
             "        [ 70,  71, ...,  75,  76],\n"
             "        [ 77,  78, ...,  82,  83]],\n"
             "\n"
             "       [[ 84,  85, ...,  89,  90],\n"
             "        [ 91,  92, ...,  96,  97],\n"
             "        [ 98,  99, ..., 103, 104]]], shape=(5, 3, 7))",
     .list = "[[[0, 1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12, 13], [14, 15, 16, 17, 18, 19, 20]], ["
             "[21, 22, 23, 24, 25, 26, 27], [28, 29, 30, 31, 32, 33, 34], [35, 36, 37, 38, 39, 40,"
             " 41]], [[42, 43, 44, 45, 46, 47, 48], [49, 50, 51, 52, 53, 54, 55], [56, 57, 58, 59,"
             " 60, 61, 62]], [[63, 64, 65, 66, 67, 68, 69], [70, 71, 72, 73, 74, 75, 76], [77, 78,"
             " 79, 80, 81, 82, 83]], [[84, 85, 86, 87, 88, 89, 90], [91, 92, 93, 94, 95, 96, 97], "
             "[98, 99, 100, 101, 102, 103, 104]]]"},
    {.name = "only what is shown counts",
     .dtype = "float64",
     .rank = 1,
     .shape = {5},
     .threshold = 4,
     .edge_items = 2,
     .values = {1, 2, 1000000000.0, 3, 4},
     .str = "[1. 2. ... 3. 4.]",
     .repr = "array([1., 2., ..., 3., 4.], shape=(5,))",
     .list = "[1.0, 2.0, 1000000000.0, 3.0, 4.0]"},
    {.name = "repr breaks before the dtype",
     .dtype = "int16",
     .rank = 1,
     .shape = {19},
     .values = {100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 115, 116,
                117, 118},
     .str = "[100 101 102 103 104 105 106 107 108 109 110 111 112 113 114 115 116 117\n"
            " 118]",
     .repr = "array([100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112,\n"
             "       113, 114, 115, 116, 117, 118], dtype=int16)",
     .list = "[100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 115, 116"
             ", 117, 118]"},
};

#endif
