/* core/report/model_report.h: model configurations: size, cost, towers. */
#ifndef PRN_REPORT_MODEL_REPORT_H
#define PRN_REPORT_MODEL_REPORT_H

#include "model/model.h"

typedef struct prn__model_facts {
    prn__model_config config;
    int64_t parameters;
    double image_macs, text_macs; /* forward, one item, full context */
} prn__model_facts;

prn_status prn__model_facts_of(const prn__model_config *config, prn__model_facts *facts, prn_error *error);

void prn__model_print(const prn__model_facts *facts, prn__text *target);
/* `programs` (may be NULL): two listings, image then text, as strings. */
void prn__model_json(const prn__model_facts *facts, const char *const *programs, prn__text *target);
void prn__model_list_print(const prn__model_facts *facts, size_t count, prn__text *target);
void prn__model_list_json(const prn__model_facts *facts, size_t count, prn__text *target);

#endif
