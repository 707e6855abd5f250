/* BLEU against sacrebleu's counts and scores (tests/parity/bleu.py), its edges, and `tenon score`. */
#include "program.h"

#include <jansson.h>
#include <math.h>

#include "../data/bleu.h"

static json_t *json;

static int read_json(void **state)
{
    json_error_t e;
    json = json_load_file(TN_SOURCE_DIR "/tests/parity/bleu.json", 0, &e);
    return json ? folder_begin(state) : -1;
}

static int free_json(void **state)
{
    json_decref(json);
    return folder_end(state);
}

static const char *text_at(const json_t *array, size_t i, size_t *n)
{
    const json_t *s = json_array_get(array, i);
    assert_true(json_is_string(s));
    *n = json_string_length(s);
    return json_string_value(s);
}

static double number_of(const json_t *o, const char *key) { return json_number_value(json_object_get(o, key)); }

/* Runs of white space are one space in sacrebleu's text. */
static void squeeze(tn_text *t)
{
    static const char *const wide[] = {"\u00a0", "\u2003", "\u3000", "\xc2\x85"};
    size_t to = 0;
    for (size_t i = 0; i < t->len;) {
        size_t space = t->at[i] == ' ';
        for (int k = 0; k < 4 && !space; k++)
            space = strncmp(t->at + i, wide[k], strlen(wide[k])) ? 0 : strlen(wide[k]);
        if (!space)
            t->at[to++] = t->at[i];
        else if (to && t->at[to - 1] != ' ')
            t->at[to++] = ' ';
        i += space ? space : 1;
    }
    to -= to && t->at[to - 1] == ' ';
    t->at[t->len = to] = 0;
}

static void test_tokens_of_13a(void **state)
{
    (void)state;
    const json_t *lines = json_object_get(json, "lines"), *wanted = json_object_get(json, "tokenized");
    tn_text t = {0};
    for (size_t i = 0; i < json_array_size(wanted); i++) {
        size_t n;
        const char *line = text_at(json_array_get(lines, i / 3), i % 3, &n);
        assert_true(tn__bleu_13a(line, n, &t));
        squeeze(&t);
        assert_string_equal(t.at, text_at(wanted, i, &n));
    }
    assert_true(tn__bleu_13a("hyphen-\nated line\nend-\n", 23, &t));
    squeeze(&t);
    assert_string_equal(t.at, "hyphenated line\nend-");
    tn_text_end(&t);
    assert_ok();
}

static void add_lines(tn_bleu *b, const json_t *c, const json_t *group)
{
    const char *line[3];
    size_t n[3];
    for (size_t i = 0; i < 3; i++)
        line[i] = text_at(group, i, &n[i]);
    assert_true(tn_bleu_add(b, line[0], n[0], (int)number_of(c, "refs"), line + 1, n + 1));
}

static tn_bleu begin(const json_t *c)
{
    return (tn_bleu){
        .tokens = strcmp(json_string_value(json_object_get(c, "tokenize")), "13a") ? TN_BLEU_NONE : TN_BLEU_13A,
        .lowercase = json_is_true(json_object_get(c, "lowercase")),
    };
}

/* Counts exactly; scores but for the last digits, since sums are taken in another order. */
static void test_against_sacrebleu(void **state)
{
    (void)state;
    size_t k, i;
    json_t *c, *group;
    json_array_foreach(json_object_get(json, "cases"), k, c) {
        tn_bleu all = begin(c);
        json_array_foreach(json_object_get(json, "lines"), i, group) {
            tn_bleu one = begin(c);
            add_lines(&all, c, group);
            add_lines(&one, c, group);
            const double wanted = json_number_value(json_array_get(json_object_get(c, "sentences"), i));
            assert_true(fabs(tn_bleu_sentence(&one) - wanted) < 1e-11);
        }
        for (i = 0; i < 4; i++) {
            assert_int_equal(all.match[i], json_integer_value(json_array_get(json_object_get(c, "match"), i)));
            assert_int_equal(all.total[i], json_integer_value(json_array_get(json_object_get(c, "total"), i)));
        }
        assert_int_equal(all.hyp_len, number_of(c, "hyp_len"));
        assert_int_equal(all.ref_len, number_of(c, "ref_len"));
        assert_true(fabs(tn_bleu_brevity(&all) - number_of(c, "brevity")) < 1e-15);
        assert_true(fabs(tn_bleu_score(&all) - number_of(c, "score")) < 1e-11);
    }
    assert_int_equal(k, 8);
}

static tn_bleu count(const char *hyp, const char *ref, const char *other)
{
    tn_bleu b = {0};
    const size_t n[] = {strlen(ref), other ? strlen(other) : 0};
    assert_true(tn_bleu_add(&b, hyp, strlen(hyp), other ? 2 : 1, (const char *[]){ref, other}, n));
    return b;
}

static void test_edges(void **state)
{
    (void)state;
    tn_bleu b = count("the <unk> sat", "the <unk> sat", NULL); /* an unknown word is no right word */
    assert_int_equal(b.match[0], 2);
    assert_int_equal(b.match[1], 0);
    b = count("a b c d e", "a b c d", "a b c d e f"); /* as close: the shorter */
    assert_int_equal(b.ref_len, 4);
    assert_true(tn_bleu_brevity(&b) == 1);
    b = count("", "a b", NULL);
    assert_true(tn_bleu_brevity(&b) == 0 && tn_bleu_score(&b) == 0 && tn_bleu_sentence(&b) == 0);
    b = count("", "", NULL);
    assert_true(tn_bleu_brevity(&b) == 1 && tn_bleu_score(&b) == 0 && tn_bleu_sentence(&b) == 0);
    b = count("a b c x", "a b c y", NULL); /* no four words */
    assert_true(tn_bleu_score(&b) == 0 && tn_bleu_sentence(&b) > 50);
    b = count("a\xff b\xffz", "a\xff b\xfez", NULL);
    assert_int_equal(b.total[0], 2);
    assert_int_equal(b.match[0], 1);

    const char *ref = "a";
    const tn_bleu before = b;
    assert_false(tn_bleu_add(&b, "a", 1, 0, &ref, (size_t[]){1}));
    expect_error(TN_EARG, "bleu: a hypothesis and at least one reference");
    assert_false(tn_bleu_add(&b, NULL, 1, 1, &ref, (size_t[]){1}));
    expect_error(TN_EARG, "bleu: a hypothesis and at least one reference");
    assert_memory_equal(&b, &before, sizeof b);
    assert_false(tn_bleu_add(NULL, "a", 1, 1, &ref, (size_t[]){1}));
    assert_true(tn_bleu_score(NULL) == 0);
    assert_null(tn_bleu_signature(NULL, 1, NULL));
    assert_ok();
}

static void test_signature(void **state)
{
    (void)state;
    char text[TN_BLEU_SIGNATURE], wanted[TN_BLEU_SIGNATURE];
    tn_bleu b = {.tokens = TN_BLEU_13A};
    snprintf(wanted, sizeof wanted, "BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:none|version:tenon-%s", tn_version());
    assert_string_equal(tn_bleu_signature(&b, 1, text), wanted);
    b = (tn_bleu){.lowercase = true};
    assert_non_null(strstr(tn_bleu_signature(&b, 2, text), "nrefs:2|case:lc|eff:no|tok:none|"));
}

/* ---- the program ---- */

static void write_sides(void)
{
    FILE *f[3];
    for (int i = 0; i < 3; i++)
        assert_non_null(f[i] = fopen(in_folder((const char *[]){"hyp", "ref0", "ref1"}[i]), "w"));
    size_t i, n;
    json_t *group;
    json_array_foreach(json_object_get(json, "lines"), i, group)
        for (size_t k = 0; k < 3; k++)
            fprintf(f[k], "%s\n", text_at(group, k, &n));
    for (int k = 0; k < 3; k++)
        fclose(f[k]);
}

static void test_program(void **state)
{
    (void)state;
    char wanted[80];
    const json_t *cases = json_object_get(json, "cases");
    write_sides();
    for (size_t k = 0; k < 8; k++) {
        const json_t *c = json_array_get(cases, k);
        const tn_bleu b = begin(c);
        expect(0, tenon("score hyp ref0 %s --tokenize %s %s", number_of(c, "refs") > 1 ? "ref1" : "",
                        b.tokens == TN_BLEU_13A ? "13a" : "none", b.lowercase ? "--lowercase" : ""));
        snprintf(wanted, sizeof wanted, "BLEU = %.2f, ", number_of(c, "score"));
        expect_words(output, wanted);
        expect_words(output, b.tokens == TN_BLEU_13A ? "|tok:13a|" : "|tok:none|");
    }
    expect(0, tenon("score - ref0 ref1 --json --sentence < hyp"));
    json_t *o = json_loads(output, 0, NULL);
    assert_non_null(o);
    const json_t *c = json_array_get(cases, 4);
    assert_true(fabs(number_of(o, "bleu") - number_of(c, "score")) < 1e-6);
    assert_int_equal(number_of(o, "ref_len"), number_of(c, "ref_len"));
    assert_int_equal(json_array_size(json_object_get(o, "sentences")),
                     json_array_size(json_object_get(json, "lines")));
    json_decref(o);
    write_text("one", "a b c d\na b c x\n");
    write_text("two", "a b c d\na b c d\n");
    expect(0, tenon("score one two --sentence"));
    assert_string_equal(output, "100.0000\n65.8037\n");
    expect(0, tenon("score one two"));
    expect_words(output, "BLEU = 72.31, 87.5/83.3/75.0/50.0 (BP=1.000, ratio=1.000, hyp_len=8, ref_len=8)\n");
}

static void test_program_refuses(void **state)
{
    (void)state;
    write_text("three", "a\nb\nc\n");
    write_text("five", "a\nb\nc\nd\ne\n");
    write_text("none", "");
    expect_complaint(1, tenon("score three five"), "three has 3 lines, five 5: ");
    expect_complaint(1, tenon("score five five three"), "five has 5 lines, three 3: ");
    expect_complaint(1, tenon("score - three < five"), "standard input has 5 lines, three 3: ");
    expect_complaint(1, tenon("score none none"), "none has no lines to score");
    expect_complaint(1, tenon("score three absent"), "absent");
    expect_complaint(2, tenon("score - - < five"), "only one file can be -");
    expect_complaint(2, tenon("score three"), "HYP REF... is wanted");
    expect_complaint(2, tenon("score three five --tokenize 14a"), "none or 13a, not '14a'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens_of_13a), cmocka_unit_test(test_against_sacrebleu), cmocka_unit_test(test_edges),
        cmocka_unit_test(test_signature),     cmocka_unit_test(test_program),           cmocka_unit_test(test_program_refuses),
    };
    return cmocka_run_group_tests_name("bleu", tests, read_json, free_json);
}
