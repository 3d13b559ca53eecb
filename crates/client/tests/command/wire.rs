//! What others than our own program may send.

use crate::cluster::Cluster;
use recode_command::Place;
use recode_command::hostile::{STRINGS, request};
use recode_proto::v1::{self, job_service_client::JobServiceClient};
use tonic::Code;

#[test]
fn hostile_options_are_refused_before_anything_is_in_the_log() {
    let cluster = Cluster::of(1);
    let endpoint = format!("http://{}", cluster.endpoint());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("threads can be started");
    runtime.block_on(async {
        let mut jobs = JobServiceClient::connect(endpoint)
            .await
            .expect("it listens");
        for (number, (place, text)) in STRINGS.iter().enumerate() {
            let message = v1::SubmitRequest {
                request_id: format!("hostile {number}"),
                command: Some(request(*place, text).into()),
                ..Default::default()
            };
            let refused = jobs.submit(message).await.map(drop).expect_err(text);
            assert_eq!(refused.code(), Code::InvalidArgument, "{text}: {refused:?}");
            assert!(
                refused.message().contains(&place.to_string()),
                "{text}: {}",
                refused.message()
            );
        }
        let both = v1::SubmitRequest {
            request_id: "both".into(),
            request: Some(v1::JobRequest::default()),
            command: Some(request(Place::Output(0), "").into()),
            ..Default::default()
        };
        assert_eq!(
            jobs.submit(both).await.expect_err("not both").code(),
            Code::InvalidArgument
        );
    });
    assert_eq!(cluster.said("list"), "there are no jobs\n");
}
