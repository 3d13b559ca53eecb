//! Jobs under ids that clients choose, and Jobs found by their request ids.

mod common;

use common::{Folder, request};
use recode_mesh::{Cluster, Error};
use recode_proto::convert::status::reason;
use recode_proto::v1;
use recode_proto::v1::job_service_client::JobServiceClient;
use recode_types::JobId;
use tonic::Code;
use tonic::transport::Endpoint;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_may_choose_the_id_of_a_job_that_nobody_has() {
    let folder = Folder::new("chosen");
    let (running, jobs, leader) = folder.coordinator().await;
    let mine = JobId::generate();
    let submit = |id: &'static str, job| {
        let jobs = jobs.clone();
        async move { jobs.submit_as(id, Some(job), &request()).await }
    };
    assert_eq!(submit("one", mine).await.unwrap(), (mine, false));
    // Whatever is chosen then, the same request gives the same Job.
    assert_eq!(submit("one", mine).await.unwrap(), (mine, true));
    assert_eq!(
        submit("one", JobId::generate()).await.unwrap(),
        (mine, true)
    );
    let taken = submit("two", mine).await.unwrap_err();
    assert!(matches!(taken, Error::Precondition(_)), "{taken:?}");
    assert_eq!(jobs.list(false).await.unwrap().len(), 1);

    assert_eq!(jobs.find("one").await.unwrap().status.job, mine);
    let unknown = jobs.find("two").await.unwrap_err();
    assert!(matches!(unknown, Error::NotFound(_)), "{unknown:?}");
    let store = Cluster::new(leader).work_store().await.unwrap();
    assert_eq!(format!("file://{store}"), folder.store());

    let address = format!("http://{}", running.local_addr());
    let channel = Endpoint::from_shared(address).unwrap().connect_lazy();
    let mut client = JobServiceClient::new(channel);
    let both = v1::GetRequest {
        job: mine.to_string(),
        request_id: "one".into(),
    };
    let refused = client.get(both).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    for (job, code, why) in [
        ("job_12", Code::InvalidArgument, None),
        (
            &*mine.to_string(),
            Code::FailedPrecondition,
            Some("JOB_ID_TAKEN"),
        ),
    ] {
        let message = v1::SubmitRequest {
            request_id: "three".into(),
            request: Some(request().into()),
            job: job.to_owned(),
            command: None,
        };
        let refused = client.submit(message).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_deref()),
            (code, why),
            "{refused:?}"
        );
    }
    running.stop().await;
}
