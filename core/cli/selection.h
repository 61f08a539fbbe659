/* core/cli/selection.h: --time-step and --set-name: which parts of a stream a command works on. */
#ifndef PRN_CLI_SELECTION_H
#define PRN_CLI_SELECTION_H

#include "cli/arguments.h"
#include "data/manifest.h"

#define PRN__ARGUMENT_TIME_STEP {"time-step", "NAME", "only this time step (default: all)", 1, 0, 0}

/* Every name given must be one of the stream's; others suggest. Training data is the set "train" where `with_train` is 1. */
prn_status prn__selection_check(const prn__arguments *arguments, const prn__manifest *manifest, int with_train, prn_error *error);
/* Nothing given selects everything. */
int prn__selection_has_step(const prn__arguments *arguments, const prn__manifest_step *step);
int prn__selection_has_set(const prn__arguments *arguments, const char *name);

#endif
