/* core/page/figures.h: the figures of a run as files for papers: SVG, and PDF with real text.
 *
 * The same figures as on the page, on white, for one score: matrices, score against compute, score over time and forgetting of each
 * task; loss, learning rate, throughput, data wait and memory. Equal ledgers give equal bytes.
 */
#ifndef PRN_PAGE_FIGURES_H
#define PRN_PAGE_FIGURES_H

#include "page/page.h"

typedef struct prn__figure_options {
    const char *folder;
    const char *prefix;  /* of file names; tells the runs of one page apart */
    const char *score;   /* NULL: each task's first */
    int has_svg, has_pdf;
} prn__figure_options;

/* The paths written so far; zeros are an empty list. */
typedef struct prn__figure_files {
    char **paths;
    size_t count;
} prn__figure_files;

/* A figure without anything to draw is left out. Existing files are replaced. */
prn_status prn__figures_write(const prn__page_part *part, const prn__figure_options *options, prn__figure_files *files, prn_error *error);
void prn__figure_files_fini(prn__figure_files *files);

#endif
