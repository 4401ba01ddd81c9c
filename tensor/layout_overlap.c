/* layout_overlap.c: whether a layout reaches an element twice, whether two layouts share a byte.
 *
 * Both are one question about sums: are there whole numbers x[k] in [0, last[k]] with
 *
 *     step[0] * x[0] + step[1] * x[1] + ... == target        (all steps > 0)
 *
 * Terms are joined first where together they reach every multiple of one step (a contiguous block
 * becomes one term), and what is left is decided exactly: two terms by Euclid's algorithm, more by
 * trying the values of the widest one that the others can still complete. So the cost is constant
 * wherever dimensions nest, as in every view of a row-major tensor that does not step or flip into
 * another one's gaps. At worst it is the product, over all joined terms but the two of the smallest
 * steps, of (what the narrower terms reach together / the term's step + 1), at most its last + 1.
 */
#include "tensor/tarn_layout.h"
#include "tensor/layout.h"

/* Sums of up to 25 products of 64-bit numbers. */
__extension__ typedef __int128 wide;

enum { TERMS_MAX = 2 * TARN_RANK_MAX + 1 };

typedef struct term {
  wide step;
  wide last;
} term;

typedef struct sum_question {
  int32_t count;
  term terms[TERMS_MAX]; /* once prepared: by step, the smallest first */
  wide target;
  wide reach[TERMS_MAX + 1];   /* of the first n terms together */
  wide divisor[TERMS_MAX + 1]; /* the greatest common one of the first n steps */
  wide inverse;                /* of step 0 modulo step 1, both divided by divisor[2] */
} sum_question;

static wide gcd(wide a, wide b) {
  while (b != 0) {
    wide rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

/* The x in [0, modulus) with a * x == 1 (mod modulus); a and modulus have no common divisor. */
static wide inverse_of(wide a, wide modulus) {
  wide low = a % modulus, high = modulus, low_factor = 1, high_factor = 0;
  while (low > 1) {
    wide quotient = high / low;
    wide rest = high - quotient * low, rest_factor = high_factor - quotient * low_factor;
    high = low;
    high_factor = low_factor;
    low = rest;
    low_factor = rest_factor;
  }
  low_factor %= modulus;
  return low_factor < 0 ? low_factor + modulus : low_factor;
}

/* Adds x * step for x in [0, last]; a negative step counts down from x == last instead. */
static void add_term(sum_question *sum, wide step, wide last) {
  if (step == 0 || last == 0) return;
  if (step < 0) {
    step = -step;
    sum->target += step * last;
  }
  sum->terms[sum->count++] = (term){step, last};
}

/* Puts `b` into `a` where that loses nothing: a's multiples fill each gap between two of b's. */
static bool join(term *a, const term *b) {
  if (b->step % a->step != 0 || b->step / a->step > a->last + 1) return false;
  a->last += b->last * (b->step / a->step);
  return true;
}

static void sort_terms(sum_question *sum) {
  for (int32_t i = 1; i < sum->count; i++) {
    term moved = sum->terms[i];
    int32_t at = i;
    for (; at > 0 && sum->terms[at - 1].step > moved.step; at--) {
      sum->terms[at] = sum->terms[at - 1];
    }
    sum->terms[at] = moved;
  }
}

/* A join widens a term, so that a term refused before may fit now: start over. Only a wider step
 * joins a narrower one, so the order stays. */
static void join_terms(sum_question *sum) {
  for (int32_t a = 0; a < sum->count; a++) {
    for (int32_t b = a + 1; b < sum->count; b++) {
      if (!join(&sum->terms[a], &sum->terms[b])) continue;
      for (int32_t i = b + 1; i < sum->count; i++) sum->terms[i - 1] = sum->terms[i];
      sum->count--;
      b = a;
    }
  }
}

static void prepare(sum_question *sum) {
  sort_terms(sum);
  join_terms(sum);
  for (int32_t i = 0; i < sum->count; i++) {
    const term *t = &sum->terms[i];
    sum->reach[i + 1] = sum->reach[i] + t->step * t->last;
    sum->divisor[i + 1] = gcd(t->step, sum->divisor[i]);
  }
  if (sum->count >= 2) {
    sum->inverse =
        inverse_of(sum->terms[0].step / sum->divisor[2], sum->terms[1].step / sum->divisor[2]);
  }
}

static wide ceil_div(wide a, wide b) {
  return a <= 0 ? 0 : (a - 1) / b + 1; /* negative results are of no use here */
}

/* The first two terms: x[0] is known modulo step 1, and lies where x[1] is in its range. */
static bool pair_reaches(const sum_question *sum, wide target) {
  const term *t = sum->terms;
  wide a = t[0].step / sum->divisor[2], b = t[1].step / sum->divisor[2];
  target /= sum->divisor[2];
  wide low = ceil_div(target - b * t[1].last, a);
  wide high = target / a < t[0].last ? target / a : t[0].last;
  wide x = target % b * sum->inverse % b;
  if (x < low) x += ceil_div(low - x, b) * b;
  return x <= high;
}

/* Whether the first `count` terms reach `target`. */
static bool reaches(const sum_question *sum, int32_t count, wide target) {
  if (target < 0 || target > sum->reach[count]) return false;
  if (count == 0) return true;
  if (target % sum->divisor[count] != 0) return false;
  if (count == 1) return true;
  if (count == 2) return pair_reaches(sum, target);
  const term *widest = &sum->terms[count - 1];
  wide low = ceil_div(target - sum->reach[count - 1], widest->step);
  wide high = target / widest->step < widest->last ? target / widest->step : widest->last;
  for (wide x = low; x <= high; x++) {
    if (reaches(sum, count - 1, target - x * widest->step)) return true;
  }
  return false;
}

static bool can_reach(sum_question *sum) {
  if (sum->target < 0) return false;
  prepare(sum);
  return reaches(sum, sum->count, sum->target);
}

static wide magnitude(int64_t value) {
  return value < 0 ? -(wide)value : (wide)value;
}

/* Two indices whose elements coincide differ by d[k] in [-(size - 1), size - 1]. Take the widest
 * dimension where they differ, and count so that d is positive there: the narrower dimensions have
 * to make up for it,  step[k] * d[k] == -sum(step[j] * d[j]), and each d[j] is shifted to start at
 * 0. One question per dimension then; and its target is negative, the answer plainly no, where the
 * step is wider than all that the narrower dimensions reach. */
bool tarn_layout_overlaps_itself(const tarn_layout *layout) {
  sum_question dims = {0};
  for (int32_t d = 0; d < layout->rank; d++) {
    if (layout->shape[d] == 0) return false;
  }
  for (int32_t d = 0; d < layout->rank; d++) {
    if (layout->shape[d] == 1) continue;
    if (layout->strides[d] == 0) return true;
    add_term(&dims, magnitude(layout->strides[d]), layout->shape[d] - 1);
  }
  sort_terms(&dims);
  wide reach = 0;
  for (int32_t k = 0; k < dims.count; k++) {
    const term *t = &dims.terms[k];
    if (t->step <= reach) {
      sum_question question = {.target = reach - t->step};
      for (int32_t j = 0; j < k; j++) {
        add_term(&question, dims.terms[j].step, 2 * dims.terms[j].last);
      }
      add_term(&question, t->step, t->last - 1);
      if (can_reach(&question)) return true;
    }
    reach += t->step * t->last;
  }
  return false;
}

static bool is_empty(const tarn_layout *layout) {
  return tarn_layout_element_count(layout) == 0;
}

/* An element of a and one of b share a byte where their addresses differ by less than an element:
 *
 *     sum(a.strides * i) - sum(b.strides * j) + slack == b's first address - a's first address
 *
 * In elements, without slack, where the addresses differ by whole ones. */
bool tarn__layouts_meet(const tarn_layout *a, const tarn_layout *b, int64_t distance_bytes,
                        size_t element_bytes) {
  if (is_empty(a) || is_empty(b)) return false;
  wide unit = (wide)element_bytes;
  sum_question question = {.target = distance_bytes + unit * b->offset - unit * a->offset};
  if (question.target % unit == 0) {
    question.target /= unit;
    unit = 1;
  } else {
    question.target += unit - 1;
    add_term(&question, 1, 2 * (unit - 1));
  }
  for (int32_t d = 0; d < a->rank; d++) {
    add_term(&question, unit * a->strides[d], a->shape[d] - 1);
  }
  for (int32_t d = 0; d < b->rank; d++) {
    add_term(&question, -unit * b->strides[d], b->shape[d] - 1);
  }
  return can_reach(&question);
}

bool tarn__layouts_share_bytes(const tarn_layout *a, size_t a_element_bytes, const tarn_layout *b,
                               size_t b_element_bytes, int64_t distance_bytes) {
  if (is_empty(a) || is_empty(b)) return false;
  const wide a_unit = (wide)a_element_bytes, b_unit = (wide)b_element_bytes;
  sum_question question = {.target = distance_bytes + b_unit * b->offset - a_unit * a->offset};
  /* A byte of an a is one of a b. */
  question.target += b_unit - 1;
  add_term(&question, 1, a_unit - 1 + b_unit - 1);
  for (int32_t d = 0; d < a->rank; d++) {
    add_term(&question, a_unit * a->strides[d], a->shape[d] - 1);
  }
  for (int32_t d = 0; d < b->rank; d++) {
    add_term(&question, -b_unit * b->strides[d], b->shape[d] - 1);
  }
  return can_reach(&question);
}
