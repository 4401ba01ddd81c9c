/* test_trace.c: the trace parser: what it understands, and how it names what is wrong. */
#include "bench/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/test.h"

/* Feeds the text in pieces of `piece_bytes`. */
static tarn_status parse_in_pieces(const char *text, size_t text_bytes, size_t piece_bytes,
                                   recorded_trace *trace) {
  trace_parser parser;
  trace_parser_init(&parser, "t.csv");
  tarn_status status = TARN_OK;
  for (size_t at = 0; status == TARN_OK && at < text_bytes; at += piece_bytes) {
    const size_t left = text_bytes - at;
    status = trace_parser_feed(&parser, text + at, left < piece_bytes ? left : piece_bytes);
  }
  if (status == TARN_OK) status = trace_parser_finish(&parser, trace);
  trace_parser_deinit(&parser);
  return status;
}

static tarn_status parse(const char *text, recorded_trace *trace) {
  memset(trace, 0, sizeof *trace);
  return parse_in_pieces(text, strlen(text), strlen(text) + 1, trace);
}

static void expect_failure(const char *text, const char *message) {
  recorded_trace trace;
  assert_int_equal(parse(text, &trace), TARN_BAD_FORMAT);
  assert_string_equal(tarn_last_error()->message, message);
  assert_null(trace.events);
  /* Cut at every place, the same text gives the same message. */
  assert_int_equal(parse_in_pieces(text, strlen(text), 1, &trace), TARN_BAD_FORMAT);
  assert_string_equal(tarn_last_error()->message, message);
}

TEST(events_carry_lines_slots_and_sizes) {
  recorded_trace trace;
  assert_int_equal(parse("op,id,bytes\na,7,100\na,9,50\nf,7,100\na,8,30\nf,9,\n", &trace), TARN_OK);
  assert_int_equal(trace.event_count, 5);
  assert_int_equal(trace.alloc_count, 3);
  assert_int_equal(trace.slot_count, 2);
  assert_int_equal(trace.peak_live_bytes, 150);
  assert_int_equal(trace.total_bytes, 180);
  assert_int_equal(trace.largest_bytes, 100);
  assert_int_equal(trace.left_count, 1);
  assert_int_equal(trace.left_bytes, 30);
  assert_int_equal(trace.stream_count, 1);
  assert_false(trace.has_streams);
  const trace_event *free_of_7 = &trace.events[2];
  assert_false(free_of_7->is_alloc);
  assert_int_equal(free_of_7->line, 4);
  assert_int_equal(free_of_7->slot, trace.events[0].slot);
  assert_int_equal(free_of_7->index, 0);
  /* 8 takes the slot that 7 left, and is the third allocation. */
  assert_int_equal(trace.events[3].slot, trace.events[0].slot);
  assert_int_equal(trace.events[3].index, 2);
  /* A free without its bytes has its block's. */
  assert_int_equal(trace.events[4].bytes, 50);
  trace_deinit(&trace);
}

TEST(text_may_be_cut_anywhere) {
  const char *text = "op,id,bytes\r\na,1,18\r\nf,1,18";
  for (size_t piece_bytes = 1; piece_bytes <= strlen(text); piece_bytes++) {
    recorded_trace trace;
    assert_int_equal(parse_in_pieces(text, strlen(text), piece_bytes, &trace), TARN_OK);
    assert_int_equal(trace.event_count, 2);
    assert_int_equal(trace.peak_live_bytes, 18);
    trace_deinit(&trace);
  }
}

TEST(columns_come_in_any_order_with_a_stream) {
  recorded_trace trace;
  assert_int_equal(parse("stream,bytes,op,id\n3,64,a,1\n5,64,f,1\n", &trace), TARN_OK);
  assert_true(trace.has_streams);
  assert_int_equal(trace.stream_count, 6);
  assert_int_equal(trace.events[0].stream, 3);
  assert_int_equal(trace.events[1].stream, 5);
  assert_int_equal(trace.events[0].bytes, 64);
  trace_deinit(&trace);
}

TEST(freed_id_may_be_allocated_again) {
  recorded_trace trace;
  assert_int_equal(parse("op,id,bytes\na,1,8\nf,1,8\na,1,16\nf,1,16\n", &trace), TARN_OK);
  assert_int_equal(trace.alloc_count, 2);
  assert_int_equal(trace.slot_count, 1);
  assert_int_equal(trace.events[3].bytes, 16);
  assert_int_equal(trace.events[3].index, 1);
  trace_deinit(&trace);
}

TEST(many_ids_are_all_remembered) {
  enum { COUNT = 20000 };
  char *text = malloc(64 * COUNT);
  assert_non_null(text);
  size_t length = (size_t)sprintf(text, "op,id,bytes\n");
  /* Ids far apart that share low bits: the table's worst diet. */
  for (unsigned long long i = 0; i < COUNT; i++) {
    length += (size_t)sprintf(text + length, "a,%llu,1\n", i << 40);
  }
  for (unsigned long long i = COUNT; i > 0; i--) {
    length += (size_t)sprintf(text + length, "f,%llu,1\n", (i - 1) << 40);
  }
  recorded_trace trace;
  assert_int_equal(parse(text, &trace), TARN_OK);
  assert_int_equal(trace.peak_live_bytes, COUNT);
  assert_int_equal(trace.left_count, 0);
  assert_int_equal(trace.events[COUNT].slot, trace.events[COUNT - 1].slot);
  trace_deinit(&trace);
  free(text);
}

TEST(blocks_from_before_a_trace_are_skipped_where_it_says_so) {
  recorded_trace trace;
  /* Two blocks from before, the first of which is used and freed, and its address comes again. */
  static const char text[] =
      "op,id,bytes,stream,thread\nm,2,1100,0,0\n"
      "u,7,1000,3,0\nf,7,1000,1,4\n"
      "a,7,30,0,0\nf,8,100,0,0\nf,7,30,1,1\n";
  assert_int_equal(parse(text, &trace), TARN_OK);
  assert_int_equal(trace.before_count, 2);
  assert_int_equal(trace.skipped_use_count, 1);
  assert_int_equal(trace.skipped_free_count, 2);
  assert_int_equal(trace.event_count, 2);
  assert_int_equal(trace.events[0].line, 5);
  assert_int_equal(trace.peak_live_bytes, 30);
  assert_int_equal(trace.left_count, 0);
  assert_int_equal(trace.stream_count, 2); /* what was skipped needs no stream and no thread */
  assert_int_equal(trace.thread_count, 2);
  trace_deinit(&trace);
}

TEST(damage_is_named_with_its_line) {
  static const struct {
    const char *text;
    const char *message;
  } cases[] = {
      {"", "t.csv:1: the file is empty, expected a header op,id,bytes"},
      {"a,0,5\n", "t.csv:1: no header: expected op,id,bytes and found 'a'"},
      {"\n", "t.csv:1: no header: expected op,id,bytes and found ''"},
      {"op,id\n", "t.csv:1: the header lacks column 'bytes'"},
      {"op,id,id,bytes\n", "t.csv:1: column 'id' stands twice in the header"},
      {"op,id,bytes,when\n", "t.csv:1: unknown column 'when' in the header"},
      {"op,id,bytes,stream,thread,x\n", "t.csv:1: the header names 6 columns, at most 5 are known"},
      {"op,id,bytes\n", "t.csv:2: the header is followed by no event"},
      {"op,id,bytes\na,0\n", "t.csv:2: 2 fields where the header names 3"},
      {"op,id,bytes\na,0,5\na,1,5,9\n", "t.csv:3: 4 fields where the header names 3"},
      {"op,id,bytes\n\na,0,5\n", "t.csv:2: 1 fields where the header names 3"},
      {"op,id,bytes\nx,0,5\n", "t.csv:2: op is 'x' and none of a, f, u, s, r and m"},
      {"op,id,bytes\na,0,-5\n", "t.csv:2: bytes is negative: -5"},
      {"op,id,bytes\na,-1,5\n", "t.csv:2: id is negative: -1"},
      {"op,id,bytes\na,0,5k\n", "t.csv:2: bytes is not a whole number: '5k'"},
      {"op,id,bytes\na,0,1.5\n", "t.csv:2: bytes is not a whole number: '1.5'"},
      {"op,id,bytes\na,0, 5\n", "t.csv:2: bytes is not a whole number: ' 5'"},
      {"op,id,bytes\na,0,\n", "t.csv:2: bytes is empty"},
      {"op,id,bytes\na,,5\n", "t.csv:2: id is empty"},
      {"op,id,bytes\na,0,1000000000000000000\n",
       "t.csv:2: bytes is 1000000000000000000, more than 140737488355328"},
      {"op,id,bytes\na,0,99999999999999999999999999999999999\n",
       "t.csv:2: bytes is 9999999999999999999999999999..., more than 140737488355328"},
      {"op,id,bytes\na,18446744073709551616,5\n",
       "t.csv:2: id is 18446744073709551616, more than 18446744073709551615"},
      {"op,id,bytes\na,0,5\na,1,5\na,0,5\n",
       "t.csv:4: id 0 is allocated again, and is live since line 2"},
      {"op,id,bytes\nf,3,5\n", "t.csv:2: id 3 is freed and was never allocated"},
      {"op,id,bytes\na,0,5\nf,0,5\nf,0,5\n",
       "t.csv:4: id 0 is freed again, and was freed on line 3"},
      {"op,id,bytes\na,0,5\nf,0,6\n",
       "t.csv:3: id 0 is freed with 6 bytes, and was allocated with 5 on line 2"},
      {"op,id,bytes,stream\na,0,5,1024\n", "t.csv:2: stream is 1024, more than 1023"},
      {"op,id,bytes,thread\na,0,5,1024\n", "t.csv:2: thread is 1024, more than 1023"},
      {"op,id,bytes\nu,0,5\n", "t.csv:2: id 0 is used and was never allocated"},
      {"op,id,bytes\na,0,5\nf,0,\nu,0,5\n", "t.csv:4: id 0 is used again, and was freed on line 3"},
      {"op,id,bytes\na,0,5\nu,0,6\n",
       "t.csv:3: id 0 is used with 6 bytes, and was allocated with 5 on line 2"},
      {"op,id,bytes\nm,1,5\nf,3,5\nf,4,5\n", "t.csv:4: id 4 is freed and was never allocated"},
      {"op,id,bytes\nm,1,5\nf,3,5\nf,3,5\n",
       "t.csv:4: id 3 is freed again, and was freed on line 3"},
      {"op,id,bytes\nm,1,5\nf,3,5\nu,3,5\n",
       "t.csv:4: id 3 is used again, and was freed on line 3"},
      {"op,id,bytes\nm,1,5\nu,3,5\na,3,5\n",
       "t.csv:4: id 3 is allocated, and is live since before the trace"},
      {"op,id,bytes\nm,1,5\nf,3,5\n",
       "t.csv:4: every event is of a block that was there before the trace"},
      {"op,id,bytes\na,0,5\nm,1,5\n", "t.csv:3: op m comes right behind the header"},
      {"op,id,bytes\ns,x,5\n", "t.csv:2: id is not a whole number: 'x'"},
      {"op,id,bytes\n\x1b[31m,0,5\n", "t.csv:2: op is '?[31m' and none of a, f, u, s, r and m"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    expect_failure(cases[i].text, cases[i].message);
  }
}

TEST(largest_numbers_are_taken) {
  recorded_trace trace;
  assert_int_equal(parse("op,id,bytes\na,18446744073709551615,140737488355328\n", &trace), TARN_OK);
  assert_true(trace.events[0].id == UINT64_MAX);
  assert_true(trace.peak_live_bytes == TRACE_BYTES_MAX);
  trace_deinit(&trace);
}

TEST(line_of_any_length_is_refused_with_its_number) {
  char text[3 * TRACE_LINE_BYTES_MAX];
  const int start = sprintf(text, "op,id,bytes\na,0,1\na,1,");
  memset(text + start, '0', sizeof text - (size_t)start - 1);
  text[sizeof text - 1] = '\0';
  expect_failure(text, "t.csv:3: the line is longer than 1024 bytes");
}

TEST(zero_byte_in_a_line_is_no_end) {
  static const char text[] = "op,id,bytes\na,0,5\0\nf,0,5\n";
  recorded_trace trace;
  assert_int_equal(parse_in_pieces(text, sizeof text - 1, sizeof text, &trace), TARN_BAD_FORMAT);
  assert_string_equal(tarn_last_error()->message, "t.csv:2: bytes is not a whole number: '5?'");
}

TEST(long_file_name_shows_its_end) {
  char name[1000];
  memset(name, 'x', sizeof name);
  strcpy(name + sizeof name - 6, "y.csv");
  trace_parser parser;
  recorded_trace trace;
  trace_parser_init(&parser, name);
  assert_int_equal(trace_parser_finish(&parser, &trace), TARN_BAD_FORMAT);
  assert_non_null(strstr(tarn_last_error()->message, "xy.csv:1: the file is empty"));
  trace_parser_deinit(&parser);
}

TEST(uses_and_threads_are_read_and_segments_skipped) {
  recorded_trace trace;
  assert_int_equal(parse("op,id,bytes,stream,thread\ns,64,2097152,1,0\na,64,10,1,0\nu,64,10,2,3\n"
                         "f,64,10,1,2\nr,64,2097152,0,9\n",
                         &trace),
                   TARN_OK);
  assert_int_equal(trace.event_count, 3);
  assert_int_equal(trace.alloc_count, 1);
  assert_int_equal(trace.left_count, 0);
  assert_true(trace.has_threads);
  assert_int_equal(trace.thread_count, 4);
  assert_int_equal(trace.stream_count, 3);
  assert_true(trace.events[1].is_use && !trace.events[1].is_alloc);
  assert_int_equal(trace.events[1].thread, 3);
  assert_int_equal(trace.events[1].stream, 2);
  assert_int_equal(trace.events[1].slot, trace.events[0].slot);
  assert_int_equal(trace.events[1].bytes, 10);
  assert_false(trace.events[2].is_use || trace.events[2].is_alloc);
  trace_deinit(&trace);
}

int main(void) {
  return run_listed_tests(NULL, NULL);
}
