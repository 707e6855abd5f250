/* A figure of lines: NAME.csv, a gnuplot script NAME.gp, and from these NAME.png and NAME.svg. */
#ifndef TENON_FIGURE_H
#define TENON_FIGURE_H

#include <stdbool.h>

typedef struct figure_line {
    const char *name;
    const double *y;  /* [rows]; NAN: no point there */
    int colour;       /* an index, repeated after 8 */
    bool dashed;
} figure_line;
typedef struct figure_panel {
    const char *title;
    int n_lines;          /* the next so many lines */
    const char *settings; /* more gnuplot lines for it; NULL: none */
} figure_panel;
typedef struct figure {
    const char *title, *x_name, *x_label, *y_label; /* x_name: of the column */
    double lift; /* 0: lines; else ridges, filled, each so much above the one before */
    const char *settings; /* more gnuplot lines, "" for none */
    int rows, n_lines;
    const double *x;      /* [rows] */
    const figure_line *lines;
    int n_panels;         /* 0: one picture */
    const figure_panel *panels;
} figure;

/* Writes the four files ("DIR/NAME" is base) and says on standard output where; without gnuplot the
 * first two, and what to install.  False with the error set. */
bool figure_write(const figure *f, const char *base);

#endif
