/* core/report/topology_report.h: the machine, for people and programs. */
#ifndef PRN_REPORT_TOPOLOGY_REPORT_H
#define PRN_REPORT_TOPOLOGY_REPORT_H

#include "base/text.h"
#include "plugin/topology.h"

void prn__topology_print(const prn__topology *topology, prn__text *target);
void prn__topology_json(const prn__topology *topology, prn__text *target);

#endif
