//! `JobService`.

use super::*;

impl World {
    pub(super) fn submits(&self) -> Vec<Row> {
        let row = |kind, what, id: &str, change: fn(&mut v1::JobRequest), wanted| {
            let mut wire = v1::JobRequest::from(request());
            change(&mut wire);
            let message = v1::SubmitRequest {
                request_id: id.into(),
                request: Some(wire),
                ..Default::default()
            };
            of("JobService/Submit", kind, what, &message, wanted)
        };
        use Kind::{Oversized, Repeated, Stale, Wrong};
        let taken = reason(Code::FailedPrecondition, "REQUEST_ID_TAKEN");
        let bare = v1::SubmitRequest {
            request_id: "a".into(),
            ..Default::default()
        };
        let under = |id: &str, job: &str| v1::SubmitRequest {
            request_id: id.into(),
            request: Some(v1::JobRequest::from(request())),
            job: job.into(),
            command: None,
        };
        let submit = |kind, what, message: &v1::SubmitRequest, wanted| {
            of("JobService/Submit", kind, what, message, wanted)
        };
        let file = |options: &str, url: &str| v1::CommandFile {
            options: options.into(),
            url: url.into(),
        };
        let commanded = |change: fn(&mut v1::SubmitRequest)| {
            let mut message = v1::SubmitRequest {
                request_id: "a".into(),
                command: Some(v1::CommandRequest {
                    inputs: vec![file("", "s3://b/a.mp4")],
                    outputs: vec![file("-c copy", "s3://b/a.mkv")],
                    ..Default::default()
                }),
                ..Default::default()
            };
            change(&mut message);
            message
        };
        fn command(message: &mut v1::SubmitRequest) -> &mut v1::CommandRequest {
            message.command.as_mut().expect("it has one")
        }
        let in_use = reason(Code::FailedPrecondition, "JOB_ID_TAKEN");
        vec![
            submit(
                Wrong,
                "no job id",
                &under("a", "job_1"),
                Answer::Field("job"),
            ),
            submit(
                Oversized,
                "long job id",
                &under("a", &long()),
                Answer::Field("job"),
            ),
            submit(Stale, "a job id in use", &under("a", &self.waiting), in_use),
            submit(
                Wrong,
                "a request and a command",
                &commanded(|m| m.request = Some(v1::JobRequest::from(request()))),
                Answer::Field("command"),
            ),
            submit(
                Wrong,
                "an option that names a file",
                &commanded(|m| command(m).outputs[0].options = "-vf movie=/etc/passwd".into()),
                Answer::Field("command"),
            ),
            submit(
                Wrong,
                "a command without an output",
                &commanded(|m| command(m).outputs.clear()),
                Answer::Field("command.outputs"),
            ),
            submit(
                Oversized,
                "a command with long options",
                &commanded(|m| command(m).global = long()),
                Answer::Field("command.global"),
            ),
            of(
                "JobService/Submit",
                Wrong,
                "no request",
                &bare,
                Answer::Field("request"),
            ),
            row(Wrong, "no id", "", |_| {}, Answer::Field("request_id")),
            row(
                Wrong,
                "no source",
                "a",
                |r| r.source.clear(),
                Answer::Field("source"),
            ),
            row(
                Wrong,
                "no output",
                "a",
                |r| r.outputs.clear(),
                Answer::Field("outputs"),
            ),
            row(
                Wrong,
                "container 99",
                "a",
                |r| r.outputs[0].container = 99,
                Answer::Field("container"),
            ),
            row(
                Wrong,
                "priority 101",
                "a",
                |r| r.priority = 101,
                Answer::Field("priority"),
            ),
            row(
                Oversized,
                "long id",
                &"x".repeat(129),
                |_| {},
                Answer::Field("request_id"),
            ),
            row(
                Oversized,
                "long source",
                "a",
                |r| r.source = long(),
                Answer::Field("source"),
            ),
            row(
                Oversized,
                "many outputs",
                "a",
                |r| r.outputs = vec![r.outputs[0].clone(); 65],
                Answer::Field("outputs"),
            ),
            row(
                Oversized,
                "large in all",
                "a",
                |r| r.labels = (0..60).map(|i| (i.to_string(), "x".repeat(2000))).collect(),
                Answer::Field("request"),
            ),
            row(Stale, "another request", "one", |r| r.priority = 3, taken),
            row(Repeated, "the same request", "one", |_| {}, Answer::Same),
        ]
    }

    pub(super) fn lists(&self) -> Vec<Row> {
        let row = |kind, what, change: &dyn Fn(&mut v1::ListRequest), wanted| {
            let mut message = v1::ListRequest::default();
            change(&mut message);
            of("JobService/List", kind, what, &message, wanted)
        };
        let token = || self.page_token.clone();
        use Kind::{Oversized, Repeated, Stale, Wrong};
        vec![
            row(
                Wrong,
                "state 99",
                &|r| r.states = vec![99],
                Answer::Field("states"),
            ),
            row(
                Wrong,
                "token",
                &|r| r.page_token = "x".into(),
                Answer::Field("page_token"),
            ),
            row(
                Oversized,
                "token",
                &|r| r.page_token = long(),
                Answer::Field("page_token"),
            ),
            row(
                Oversized,
                "prefix",
                &|r| r.source_prefix = long(),
                Answer::Field("source_prefix"),
            ),
            row(
                Oversized,
                "states",
                &|r| r.states = vec![1; 17],
                Answer::Field("states"),
            ),
            row(
                Oversized,
                "labels",
                &|r| r.labels = (0..65).map(|i| (i.to_string(), String::new())).collect(),
                Answer::Field("labels"),
            ),
            row(Oversized, "limit", &|r| r.limit = u32::MAX, Answer::Taken),
            row(
                Stale,
                "token of another list",
                &|r| {
                    r.page_token = token();
                    r.live_only = true;
                },
                Answer::Field("page_token"),
            ),
            row(Repeated, "page", &|r| r.page_token = token(), Answer::Same),
        ]
    }

    pub(super) fn watches(&self) -> Vec<Row> {
        let from = |job: &str| v1::WatchFrom {
            job: job.into(),
            from_index: 0,
        };
        let row = |kind, what, job: &str, from_index, jobs, wanted| {
            let message = v1::WatchRequest {
                job: job.into(),
                from_index,
                jobs,
            };
            of("JobService/Watch", kind, what, &message, wanted)
        };
        use Kind::{Oversized, Repeated, Stale, Wrong};
        let waiting = &self.waiting;
        let unknown = JobId::generate().to_string();
        let no_job = reason(Code::NotFound, "UNKNOWN_JOB");
        vec![
            row(Wrong, "no job", "", 0, vec![], Answer::Field("job")),
            row(
                Wrong,
                "one twice",
                "",
                0,
                vec![from(waiting); 2],
                Answer::Field("jobs"),
            ),
            row(
                Wrong,
                "one and many",
                waiting,
                0,
                vec![from(waiting)],
                Answer::Field("jobs"),
            ),
            row(
                Wrong,
                "no job of many",
                "",
                0,
                vec![from("?")],
                Answer::Field("jobs.job"),
            ),
            row(
                Oversized,
                "too many",
                "",
                0,
                vec![from(waiting); MAX_WATCHED + 1],
                Answer::Field("jobs"),
            ),
            row(
                Oversized,
                "long job",
                &long(),
                0,
                vec![],
                Answer::Field("job"),
            ),
            row(Stale, "unknown", &unknown, 0, vec![], no_job.clone()),
            row(
                Stale,
                "one of many unknown",
                "",
                0,
                vec![from(waiting), from(&unknown)],
                no_job,
            ),
            row(
                Stale,
                "behind the end",
                &self.cancelled,
                1 << 40,
                vec![],
                Answer::Taken,
            ),
            row(Repeated, "first event", waiting, 0, vec![], Answer::Same),
        ]
    }

    /// Calls that look at one Job.
    pub(super) fn looks_at_a_job(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for rpc in [
            "JobService/Get",
            "JobService/Explain",
            "JobService/Report",
            "JobService/Logs",
        ] {
            // All of them begin with the Job.
            let row = |kind, what, job: &str, wanted| {
                let message = v1::ExplainRequest { job: job.into() };
                of(rpc, kind, what, &message, wanted)
            };
            let unknown = JobId::generate().to_string();
            rows.extend([
                row(Kind::Wrong, "no job", "", Answer::Field("job")),
                row(Kind::Wrong, "half a job", "job_12", Answer::Field("job")),
                row(Kind::Wrong, "a task", "task_1", Answer::Field("job")),
                row(
                    Kind::Oversized,
                    "long job",
                    &"x".repeat(1 << 20),
                    Answer::Field("job"),
                ),
                row(
                    Kind::Stale,
                    "unknown",
                    &unknown,
                    reason(Code::NotFound, "UNKNOWN_JOB"),
                ),
                row(
                    Kind::Repeated,
                    "an ended job",
                    &self.cancelled,
                    Answer::Same,
                ),
            ]);
        }
        let runs = v1::ReportRequest {
            job: self.waiting.clone(),
        };
        let too_early = reason(Code::FailedPrecondition, "JOB_RUNS");
        rows.push(of(
            "JobService/Report",
            Kind::Stale,
            "it runs",
            &runs,
            too_early,
        ));
        let task = v1::LogsRequest {
            job: self.waiting.clone(),
            task: "encode.first".into(),
            ..Default::default()
        };
        rows.push(of(
            "JobService/Logs",
            Kind::Wrong,
            "no task",
            &task,
            Answer::Field("task"),
        ));
        let behind = v1::LogsRequest {
            job: self.cancelled.clone(),
            from_number: u64::MAX,
            ..Default::default()
        };
        rows.push(of(
            "JobService/Logs",
            Kind::Stale,
            "behind the end",
            &behind,
            Answer::Taken,
        ));
        rows
    }

    /// Calls that want something of a Job.
    pub(super) fn wishes(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (rpc, ended) in [
            ("JobService/Pause", "JOB_ENDED"),
            ("JobService/Resume", "JOB_ENDED"),
            ("JobService/Retry", "NOT_FAILED"),
        ] {
            // All of them are a Job and a request id.
            let row = |kind, what, job: &str, id: &str, wanted| {
                let message = v1::RetryRequest {
                    job: job.into(),
                    request_id: id.into(),
                };
                of(rpc, kind, what, &message, wanted)
            };
            let waiting = &self.waiting;
            let unknown = JobId::generate().to_string();
            let stale = reason(Code::FailedPrecondition, ended);
            rows.extend([
                row(Kind::Wrong, "no job", "", "w", Answer::Field("job")),
                row(
                    Kind::Oversized,
                    "long job",
                    &long(),
                    "w",
                    Answer::Field("job"),
                ),
                row(
                    Kind::Oversized,
                    "long id",
                    waiting,
                    &"x".repeat(129),
                    Answer::Field("request_id"),
                ),
                row(
                    Kind::Stale,
                    "unknown",
                    &unknown,
                    "w",
                    reason(Code::NotFound, "UNKNOWN_JOB"),
                ),
                row(Kind::Stale, "it has ended", &self.cancelled, "w", stale),
            ]);
            match rpc {
                "JobService/Retry" => rows.extend([
                    row(
                        Kind::Wrong,
                        "no id",
                        waiting,
                        "",
                        Answer::Field("request_id"),
                    ),
                    row(
                        Kind::Repeated,
                        "nothing has failed, twice",
                        waiting,
                        "r",
                        reason(Code::FailedPrecondition, "NOT_FAILED"),
                    ),
                ]),
                _ => {
                    let id = rpc.rsplit('/').next().expect("it has a name");
                    rows.push(row(
                        Kind::Repeated,
                        "the same wish",
                        waiting,
                        id,
                        Answer::Same,
                    ));
                }
            }
        }
        // The id of the pause, for another wish.
        let other = v1::ResumeRequest {
            job: self.waiting.clone(),
            request_id: "Pause".into(),
        };
        let taken = || reason(Code::FailedPrecondition, "REQUEST_ID_TAKEN");
        rows.push(of(
            "JobService/Resume",
            Kind::Stale,
            "id of another wish",
            &other,
            taken(),
        ));
        let cancel = |kind, what, job: &str, id: &str, why: &str, wanted| {
            let message = v1::CancelRequest {
                job: job.into(),
                request_id: id.into(),
                reason: why.into(),
            };
            of("JobService/Cancel", kind, what, &message, wanted)
        };
        let ended = &self.cancelled;
        rows.extend([
            cancel(Kind::Wrong, "no job", "", "", "", Answer::Field("job")),
            cancel(
                Kind::Oversized,
                "long reason",
                ended,
                "",
                &long(),
                Answer::Field("reason"),
            ),
            cancel(
                Kind::Oversized,
                "long id",
                ended,
                &"x".repeat(129),
                "",
                Answer::Field("request_id"),
            ),
            cancel(
                Kind::Stale,
                "it has ended",
                ended,
                "",
                "again",
                Answer::Taken,
            ),
            cancel(
                Kind::Stale,
                "id of another reason",
                ended,
                "c",
                "other",
                taken(),
            ),
            cancel(
                Kind::Repeated,
                "the same wish",
                ended,
                "c",
                "enough",
                Answer::Same,
            ),
        ]);
        rows
    }
}
