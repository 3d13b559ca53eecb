//! Between `object_store` and the network: keeps the pace of the bucket, hears the store's complaints, and makes the
//! completion of an upload create-only, which the crate's interface cannot ask for.

use crate::budget::Budget;
use futures::future::BoxFuture;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::{ClientOptions, Result};
use reqwest::header::{HeaderValue, IF_NONE_MATCH};
use reqwest::{Method, StatusCode};

/// Makes connections that keep to a budget.
#[derive(Debug)]
pub(crate) struct Paced {
    pub(crate) budget: Budget,
    /// Completing an upload fails when the key is taken. A header does this, and it need not be signed.
    pub(crate) create_only: bool,
}

impl HttpConnector for Paced {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        Ok(HttpClient::new(Connection {
            inner: ReqwestConnector::default().connect(options)?,
            budget: self.budget.clone(),
            create_only: self.create_only,
        }))
    }
}

#[derive(Debug)]
struct Connection {
    inner: HttpClient,
    budget: Budget,
    create_only: bool,
}

impl Connection {
    async fn send(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let completes = request.method() == Method::POST
            && request
                .uri()
                .query()
                .is_some_and(|query| query.contains("uploadId="));
        if self.create_only && completes {
            let any = HeaderValue::from_static("*");
            request.headers_mut().insert(IF_NONE_MATCH, any);
        }
        self.budget.admit().await;
        let answer = self.inner.execute(request).await?;
        match answer.status() {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                self.budget.slow_down();
            }
            status if !status.is_server_error() => self.budget.went_well(),
            _ => {}
        }
        Ok(answer)
    }
}

impl HttpService for Connection {
    // What `async_trait` makes of the declaration.
    fn call<'life0, 'async_trait>(
        &'life0 self,
        request: HttpRequest,
    ) -> BoxFuture<'async_trait, Result<HttpResponse, HttpError>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(self.send(request))
    }
}
