/* core/page/curves.h: training curves of a part. Private to core/page. */
#ifndef PRN_PAGE_CURVES_H
#define PRN_PAGE_CURVES_H

#include "page/page.h"

/* Adds one update, those of a curve in ascending order of `update`. `width` and the room for points are set before. */
void prn__curve_add(prn__curve *curve, int64_t update, const prn__step_metric *metric);
/* Fills part->curves from the ledger. */
prn_status prn__curves_load(const char *workspace, int64_t stretches, prn__page_part *part, prn_error *error);

#endif
