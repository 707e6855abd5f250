/* `tenon report`: one page that stands alone, escaped, about whatever a run directory holds. */
#include "program.h"

#include <sys/stat.h>

static char page[1 << 18];

static void put_run(const char *dir, const char *config, const char *metrics)
{
    char path[128];
    mkdir(in_folder(dir), 0777);
    snprintf(path, sizeof path, "%s/config.yaml", dir);
    write_text(path, config);
    snprintf(path, sizeof path, "%s/metrics.jsonl", dir);
    if (metrics)
        write_text(path, metrics);
}

#define EPOCH(n, accuracy, loss)                                                              \
    "{\"step\":" n "0,\"epoch\":" n ",\"train_loss\":" loss ",\"train_accuracy\":0.5,"        \
    "\"test_loss\":" loss ",\"test_accuracy\":" accuracy ",\"best\":0.5,\"lr\":0.1,\"seconds\":" n "00}\n"

static void read_page(const char *name)
{
    read_whole(in_folder(name), page, sizeof page);
    expect_words(page, "<!doctype html>");
    expect_words(page, "</body></html>\n");
    static const char *const never[] = {"http:", "https:", "<script", "src=", "href=", "@import", "url(", "nan", "inf"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (strstr(page, never[i]))
            fail_msg("the page holds '%s'", never[i]);
}

static int count(const char *words)
{
    int n = 0;
    for (const char *at = page; (at = strstr(at, words)); at++)
        n++;
    return n;
}

static void test_suite_folder(void **state)
{
    (void)state;
    mkdir(in_folder("s"), 0777);
    put_run("s/b", "name: b\noptim: {name: radam, lr: 0.01}\ntrain: {epochs: 2}\n",
            EPOCH("1", "0.25", "2.5") EPOCH("2", "0.125", "1.5"));
    put_run("s/a<i>&", "name: \"</pre><script>alert('1')</script>\"\noptim: {lr: 0.5}\ntrain: {epochs: 9}\n",
            EPOCH("1", "0.375", "null") "{\"step\":11,\"ep");
    put_run("s/new", "name: new\n", NULL);
    put_run("s/begun", "name: begun\n", "{\"step\":1,\"epoch\":0.5,\"loss\":1,\"lr\":1}\n");
    write_text("s/b/model.safetensors", "");
    write_text("s/b/environment.json", "{\"version\":\"9.8.7\",\"isa\":\"<avx>\",\"threads\":3}");
    write_text("s/x-table.md", "Title & more\nAbout it.\n\n| run | best |\n| --- | ---: |\n| <b> | 12.50 |\n");
    expect(0, tenon("report s/"));
    expect_words(output, "s/report.html: 4 runs\n");
    read_page("s/report.html");
    expect_words(page, "<h1>s</h1>");
    expect_words(page, "4 runs, 1 finished");
    expect_words(page, "a&lt;i&gt;&amp;");
    expect_words(page, "&lt;/pre&gt;&lt;script&gt;alert(&#39;1&#39;)");
    expect_words(page, ">2 of 2</td><td class='n'>12.50</td><td class='n'>25.00 (epoch 1)</td><td class='n'>1.5000<");
    expect_words(page, "0:03:20");
    expect_words(page, ">1 of 9, not finished</td><td class='n'>37.50</td>");
    expect_words(page, "<th>optim.lr</th>");
    expect_words(page, "&lt;avx&gt;");
    expect_words(page, "<h2>Title &amp; more\n</h2>\n<p>About it.");
    expect_words(page, "<tr><td>&lt;b&gt;</td><td class='n'>12.50</td></tr>");
    assert_int_equal(count("<details>"), 4);
    assert_int_equal(count("role='img'"), 4);
    assert_int_equal(count(">9.8.7</td>"), 1);
}

static void test_runs(void **state)
{
    (void)state;
    mkdir(in_folder("p"), 0777);
    mkdir(in_folder("q"), 0777);
    put_run("p/r", "seed: 1\n", EPOCH("1", "0.5", "1e-3") EPOCH("2", "0.5", "1e3") EPOCH("3", "0.5", "1"));
    put_run("q/r", "seed: 2\n", EPOCH("1", "0.5", "1"));
    expect(0, tenon("report p/r q/r --out both.html"));
    read_page("both.html");
    expect_words(page, "</svg>p/r</td>"); /* two of one name */
    expect_words(page, "<th>seed</th>");
    expect_words(page, ">0.01</text>"); /* a log scale */
    expect(0, tenon("report p/r q/r"));
    assert_true(exists("report.html"));
    expect(0, tenon("report q/r"));
    read_page("q/r/report.html");
    assert_null(strstr(page, "Settings that differ"));
}

/* Columns and curves are those that the runs have: of sentences, within their first epoch. */
static void test_translation(void **state)
{
    (void)state;
    mkdir(in_folder("t"), 0777);
    put_run("t/a", "name: a\ntrain: {epochs: 0, max_steps: 20}\n",
            "{\"step\":10,\"epoch\":0.25,\"loss\":2.9,\"lr\":1}\n{\"step\":20,\"epoch\":0.5,\"loss\":0.1,\"lr\":1}\n"
            "{\"step\":20,\"epoch\":1,\"train_loss\":6,\"valid_ppl\":99.5,\"seconds\":3}\n");
    expect(0, tenon("report t"));
    read_page("t/report.html");
    expect_words(page, "<th class='n'>training loss</th><th class='n'>best valid. ppl</th>");
    expect_words(page, ">99.50 (epoch 1)<");
    expect_words(page, "aria-label='Training loss of updates over steps'");
    expect_words(page, "m-3 0h6m-3-3v6'><title>a: 99.5<"); /* one epoch: a cross */
    expect_words(page, ">0</text>"); /* below the lowest loss, and not -0 */
    assert_null(strstr(page, ">-0</text>"));
    assert_null(strstr(page, "test acc"));
    assert_null(strstr(page, "test loss"));
    assert_int_equal(count("role='img'"), 3);
}

static void test_trained(void **state)
{
    (void)state;
    write_text("net.yaml", "model: {name: mlp, hidden: 4, layers: 1}\n"
                           "data: {name: shapes, count: 32, test_count: 16, batch: 16, workers: 0}\n"
                           "train: {epochs: 2}\ndevice: {threads: 1}\n");
    expect(0, tenon("train net.yaml --out run"));
    expect(0, tenon("report run"));
    read_page("run/report.html");
    expect_words(page, "1 run, 1 finished");
    expect_words(page, ">2 of 2<");
    char version[64];
    snprintf(version, sizeof version, "'text'>%s</td>", tn_version());
    expect_words(page, version);
}

static void test_report_refuses(void **state)
{
    (void)state;
    mkdir(in_folder("empty"), 0777);
    expect_complaint(1, tenon("report empty"), "empty is no run directory and holds none");
    expect_complaint(1, tenon("report absent"), "absent: No such file");
    put_run("bad", "nonsense: 1\n", NULL);
    expect_complaint(1, tenon("report bad"), "bad/config.yaml");
    put_run("worse", "name: worse\n", "not json\n");
    expect_complaint(1, tenon("report worse"), "worse/metrics.jsonl:1");
    assert_false(exists("worse/report.html"));
    put_run("good", "name: good\n", NULL);
    expect_complaint(1, tenon("report good --out absent/x.html"), "absent/x.html");
    expect_complaint(1, tenon("report good --out /dev/full"), "/dev/full: cannot be written");
    expect(2, tenon("report"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_suite_folder, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_runs, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_translation, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_trained, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(test_report_refuses, folder_begin, folder_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
