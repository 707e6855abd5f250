/* tenon train: from a config to a run directory. */
#include "cli.h"
#include "setup.h"
#include "train.h"

static json_t *as_json(const run *r, const train_result *result)
{
    const train_state *s = &result->state;
    const task *k = result->task;
    char loss[TASK_TEXT], score[TASK_TEXT];
    json_t *line = json_pack("{s:s,s:I,s:I}", "run", r->dir, "step", (json_int_t)s->step, "epoch",
                             (json_int_t)s->epoch);
    snprintf(loss, sizeof loss, "%s_loss", task_split_name(result->split));
    snprintf(score, sizeof score, "%s_%s", task_split_name(result->split), k->score);
    json_object_set_new(line, loss, json_number(s->test_loss));
    json_object_set_new(line, score, json_number(s->test_score));
    json_object_set_new(line, k->best, json_number(s->best));
    json_object_set_new(line, "seconds", json_real(s->seconds));
    json_object_set_new(line, "interrupted", json_boolean(result->interrupted));
    return line;
}

static void report(const cli *c, const run *r, const train_result *result)
{
    const train_state *s = &result->state;
    char last[TASK_TEXT], best[TASK_TEXT];
    if (cli_has(c, "json"))
        json_print_line(as_json(r, result), stdout);
    else if (!result->interrupted && !r->quiet)
        printf("done: %s %s, best %s in epoch %lld; %.1f s; weights in %s/model.safetensors\n",
               task_split_name(result->split), task_score_text(result->task, s->test_score, last),
               task_score_text(result->task, s->best, best), (long long)s->best_epoch, s->seconds, r->dir);
}

/* A failure after the first checkpoint has lost little, and the error says how to go on. */
static void tell_how_to_go_on(const run *r, const train_result *result)
{
    const tn_err e = *tn_error();
    if (result->saved_step < 0 || e.code == TN_OK)
        return;
    tn_error_clear();
    tn_fail(e.code, "%s; when that is mended, go on from step %lld with: tenon train %s --resume",
            e.text, (long long)result->saved_step, r->dir);
}

static int run_train(const cli *c)
{
    config cfg;
    run r = {.lock = -1, .quiet = cli_has(c, "quiet") || cli_has(c, "json")};
    train_result result = {.saved_step = -1};
    char given_dir[CONFIG_TEXT], dir[CONFIG_TEXT + 8];
    if (cli_has(c, "help-config")) {
        config_print_help(stdout);
        return DONE;
    }
    if (c->n == 0)
        return cli_wrong(c->command, "%s is wanted", c->command->arguments);
    if (cli_has(c, "resume") && cli_has(c, "force"))
        return cli_wrong(c->command, "--resume and --force exclude each other");
    if (!setup_config(&cfg, c, given_dir))
        return FAILED;
    snprintf(dir, sizeof dir, "runs/%s", cfg.top.name);
    const char *out = cli_text(c, "out", *given_dir ? given_dir : dir);
    const run_mode mode = cli_has(c, "resume")  ? RUN_RESUME
                          : cli_has(c, "force") ? RUN_FORCE
                                                : RUN_NEW;
    const bool trained = run_open(&r, out, mode) && train(&cfg, &r, mode == RUN_RESUME, &result);
    if (trained)
        report(c, &r, &result);
    if (trained && result.interrupted)
        tn_fail(TN_ESTATE, "stopped at step %lld; go on with: tenon train %s --resume",
                (long long)result.state.step, r.dir);
    else if (!trained)
        tell_how_to_go_on(&r, &result);
    if (!tn_ok() && r.log)
        fprintf(r.log, "%s\n", tn_error()->text);
    run_close(&r);
    return cli_status();
}

const command command_train = {
    .name = "train",
    .arguments = "CONFIG",
    .about = "trains as a config says, into a run directory\n"
             "CONFIG is a YAML file, or a run directory (with --resume: goes on there).  The run\n"
             "directory gets config.yaml, metrics.jsonl, log.txt, checkpoint.safetensors,\n"
             "best.safetensors and model.safetensors; one process has it at a time.",
    .least = 0,
    .most = 1,
    .options = (const option_row[]){
        SETUP_OPTIONS,
        {"out", "DIR", "the run directory; default runs/NAME"},
        {"resume", NULL, "go on from the checkpoint there"},
        {"force", NULL, "start over where a run is already"},
        {"quiet", NULL, "nothing on standard output"},
        {"json", NULL, "one JSON object with the result on standard output"},
        {"help-config", NULL, "print all knobs of a config"},
        {NULL, NULL, NULL},
    },
    .run = run_train,
};
