/* See figure.h.  The script names its files without folders, so that it runs where it stands. */
#define _GNU_SOURCE
#include "figure.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <tenon.h>
#include <unistd.h>

enum { PATH = 640, NO_GNUPLOT = 127, NAME = 256, FEW = 16 };

/* Colours that stay apart for the colour-blind (Okabe and Ito). */
static const char *const colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                      "#e69f00", "#56b4e9", "#000000", "#8a8a00"};

static FILE *create(const char *base, const char *ending, char path[PATH])
{
    snprintf(path, PATH, "%s%s", base, ending);
    FILE *f = fopen(path, "w");
    return f ? f : tn_fail(TN_EIO, "%s: %s", path, strerror(errno));
}

static bool finish(FILE *f, const char *path)
{
    const bool failed = ferror(f) != 0;
    if ((fclose(f) != 0) | failed)
        tn_fail(TN_EIO, "%s: cannot be written: %s", path, strerror(errno));
    return tn_ok();
}

/* The text between two `quote`s, those inside doubled: CSV and gnuplot agree. */
static void quoted(FILE *f, const char *text, char quote)
{
    fputc(quote, f);
    for (; *text; text++) {
        if (*text == quote)
            fputc(quote, f);
        fputc(*text, f);
    }
    fputc(quote, f);
}

static bool write_data(const figure *f, const char *base)
{
    char path[PATH];
    FILE *out = create(base, ".csv", path);
    if (!out)
        return false;
    quoted(out, f->x_name, '"');
    for (int k = 0, panel = 0, end = 0; k < f->n_lines; k++) {
        char name[NAME];
        while (panel < f->n_panels && k >= end)
            end += f->panels[panel++].n_lines;
        snprintf(name, sizeof name, "%s%s%s", panel ? f->panels[panel - 1].title : "",
                 panel ? " " : "", f->lines[k].name);
        fputc(',', out);
        quoted(out, name, '"');
    }
    for (int i = 0; i < f->rows; i++) {
        fprintf(out, "\n%.9g", f->x[i]);
        for (int k = 0; k < f->n_lines; k++) {
            fputc(',', out);
            if (!isnan(f->lines[k].y[i]))
                fprintf(out, "%.9g", f->lines[k].y[i]);
        }
    }
    fputc('\n', out);
    return finish(out, path);
}

static void setting(FILE *out, const char *what, const char *text)
{
    fprintf(out, "set %s ", what);
    quoted(out, text, '\'');
    fputs(" noenhanced\n", out);
}

static void plot_lines(FILE *out, const figure *f, const char *name, int from, int to)
{
    fputs("plot", out);
    for (int k = from; k < to; k++) {
        const figure_line *l = &f->lines[k];
        fprintf(out, "%s '%s.csv' skip 1 using 1:%d with %s lw 2 lc rgb '%s' dt %d title ",
                k > from ? ", \\\n    " : "", name, k + 2,
                f->rows > FEW ? "lines" : "linespoints pt 7 ps 0.6", colours[l->colour % 8],
                l->dashed ? 2 : 1);
        quoted(out, l->name, '\'');
    }
    fputc('\n', out);
}

/* The last one is behind; from light to dark. */
static void plot_ridges(FILE *out, const figure *f, const char *name, int from, int to)
{
    static const int light[3] = {0xa6, 0xd4, 0xf2}, dark[3] = {0x00, 0x3f, 0x6b};
    const int n = to - from;
    fputs("plot", out);
    for (int k = n - 1; k >= 0; k--) {
        const double base = k * f->lift, part = n > 1 ? k / (n - 1.0) : 1;
        const int column = from + k + 2;
        fprintf(out, "%s '%s.csv' skip 1 using 1:(%.9g+$%d) with filledcurves y=%.9g fs solid "
                "lc rgb '#", k < n - 1 ? ", \\\n    " : "", name, base, column, base);
        for (int i = 0; i < 3; i++)
            fprintf(out, "%02x", light[i] + (int)(part * (dark[i] - light[i])));
        fprintf(out, "', '' skip 1 using 1:(%.9g+$%d) with lines lw 1 lc rgb 'white'", base, column);
    }
    fputc('\n', out);
}

static void plot_some(FILE *out, const figure *f, const char *name, int from, int to)
{
    if (f->lift > 0)
        plot_ridges(out, f, name, from, to);
    else
        plot_lines(out, f, name, from, to);
}

/* The same range of y in all panels, so that the eye can compare them. */
static void common_range(FILE *out, const figure *f)
{
    double low = INFINITY, high = -INFINITY;
    for (int k = 0; k < f->n_lines; k++)
        for (int i = 0; i < f->rows; i++) {
            low = fmin(low, f->lines[k].y[i]);
            high = fmax(high, f->lines[k].y[i]);
        }
    const double margin = (high - low) / 20;
    if (margin > 0)
        fprintf(out, "set yrange [%.9g:%.9g]\n", low - margin, high + margin);
}

static void plot_panels(FILE *out, const figure *f, const char *name, int rows, int columns)
{
    fprintf(out, "set multiplot layout %d,%d title ", rows, columns);
    quoted(out, f->title, '\'');
    fputs(" noenhanced\n", out);
    if (f->lift == 0)
        fputs("set key outside bottom center horizontal\n", out);
    for (int i = 0, k = 0; i < f->n_panels; k += f->panels[i++].n_lines) {
        setting(out, "title", f->panels[i].title);
        if (f->panels[i].settings)
            fputs(f->panels[i].settings, out);
        plot_some(out, f, name, k, k + f->panels[i].n_lines);
    }
    fputs("unset multiplot\n", out);
}

static bool write_script(const figure *f, const char *base, const char *name)
{
    char path[PATH];
    FILE *out = create(base, ".gp", path);
    if (!out)
        return false;
    const int panels = f->n_panels, columns = panels == 4 ? 2 : panels < 3 ? panels : 3;
    const int rows = panels ? (panels + columns - 1) / columns : 0;
    const int width = panels ? 440 * columns : 900, height = panels ? 400 * rows + 40 : 520;
    setting(out, "title", f->title);
    setting(out, "xlabel", f->x_label);
    setting(out, "ylabel", f->y_label);
    fputs("set datafile separator ','\nset border 3\nset tics nomirror out\n"
          "set grid lc rgb '#dddddd' lt 1\nset key outside right top Left reverse noenhanced\n",
          out);
    if (panels && f->lift == 0)
        common_range(out, f);
    fputs(f->settings, out);
    for (int pass = 0; pass < 2; pass++) {
        if (pass)
            fprintf(out, "set terminal svg size %d,%d font 'sans,14' background rgb 'white'\n",
                    width, height);
        else
            fprintf(out, "set terminal pngcairo size %d,%d font 'sans,16'\n", width * 3 / 2,
                    height * 3 / 2);
        fprintf(out, "set output '%s.%s'\n", name, pass ? "svg" : "png");
        if (panels)
            plot_panels(out, f, name, rows, columns);
        else
            plot_some(out, f, name, 0, f->n_lines);
        fputs("unset output\n", out);
    }
    return finish(out, path);
}

/* The exit status of gnuplot on name.gp in its folder. */
static int draw(const char *folder, const char *name)
{
    char script[PATH];
    snprintf(script, sizeof script, "%s.gp", name);
    int status = 0;
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        const int null = open("/dev/null", O_WRONLY);
        dup2(null, STDERR_FILENO);
        if (chdir(folder) == 0)
            execlp("gnuplot", "gnuplot", script, (char *)NULL);
        _exit(NO_GNUPLOT);
    }
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return child > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

bool figure_write(const figure *f, const char *base)
{
    char folder[PATH];
    const char *slash = strrchr(base, '/'), *name = slash ? slash + 1 : base;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - base) + 1 : 2,
             slash ? base : "./");
    if (strlen(base) + 8 > PATH || strchr(name, '\'')) {
        tn_fail(TN_EARG, "%.200s: no name for a figure", base);
        return false;
    }
    if (!write_data(f, base) || !write_script(f, base, name))
        return false;
    const int status = draw(folder, name);
    if (status == 0)
        printf("figure: %s.png and %s.svg, from %s.csv by %s.gp\n", base, name, name, name);
    else if (status == NO_GNUPLOT)
        printf("data: %s.csv; to draw it: apt install gnuplot-nox, then gnuplot %s.gp in %s\n",
               base, name, folder);
    else
        tn_fail(TN_EIO, "%s.gp: gnuplot failed (status %d)", base, status);
    return tn_ok();
}
