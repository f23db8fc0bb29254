//! Media in a bucket behind the S3 protocol, with a server of it that is none of ours.

use std::path::Path;

use bench::cluster::Cluster;
use bench::wait::until;
use client_sdk::{Content, MediaSource};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;

use crate::media::noise;
use crate::people::Group;

const BUCKET: &str = "fleet";

/// Serves the folders below this one as buckets, for as long as the test runs. Where.
async fn serve(root: &Path) -> String {
    let files = s3s_fs::FileSystem::new(root).unwrap();
    let mut service = S3ServiceBuilder::new(files);
    service.set_auth(SimpleAuth::from_single("robots", "a secret of theirs"));
    let service = service.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let serving = http1::Builder::new();
                // It ends with its client.
                drop(
                    serving
                        .serve_connection(TokioIo::new(stream), service)
                        .await,
                );
            });
        }
    });
    format!("http://{address}")
}

/// How many files there are below it, however deep.
fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let count = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path) } else { 1 }
    };
    entries.map(count).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn media_are_kept_in_a_bucket_as_in_a_folder() {
    let buckets = tempfile::tempdir().unwrap();
    let bucket = buckets.path().join(BUCKET);
    std::fs::create_dir(&bucket).unwrap();
    let endpoint = serve(buckets.path()).await;
    let told = [
        ("IM_GATEWAY__MEDIA__S3_ENDPOINT", &endpoint[..]),
        ("IM_GATEWAY__MEDIA__S3_ACCESS_KEY_ID", "robots"),
        (
            "IM_GATEWAY__MEDIA__S3_SECRET_ACCESS_KEY",
            "a secret of theirs",
        ),
        ("IM_GATEWAY__MEDIA__GRACE_MS", "1000"),
    ];
    let place = format!("s3://{BUCKET}/media/dev");
    let arguments = ["--gateways", "2", "--media", &place].map(String::from);
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start_told(folder, &arguments, &told)
        .await
        .unwrap();
    let mut group = Group::make(&cluster).await;
    let bytes = noise(9 * 1024 * 1024 + 3, 5);
    let source = MediaSource::bytes("地图.pgm", bytes.clone());
    let ana = &group.ana.client;
    let sent = ana
        .send_media(group.conversation, source, "二楼")
        .await
        .unwrap();
    let heard = loop {
        let heard = group.bo.hear(group.conversation).await;
        if matches!(heard.content, Content::Media(_)) {
            break heard;
        }
    };
    let to = buckets.path().join("fetched.pgm");
    group.bo.client.fetch_media(&heard, &to).await.unwrap();
    assert!(std::fs::read(&to).unwrap() == bytes, "other bytes came");
    assert!(
        files(&bucket) >= 4,
        "three parts and what is written down of them"
    );

    ana.recall(group.conversation, sent.sequence).await.unwrap();
    let gone = until(async || {
        ana.collect_media().await.unwrap();
        let own = ana.own_media().await.unwrap();
        (own.used_bytes == 0 && own.media.is_empty()).then_some(())
    });
    gone.await.unwrap();
    let names = ["manifest.json", "-400000-"];
    for folder in walk(&bucket) {
        let left = folder.display().to_string();
        assert!(
            !names.iter().any(|name| left.contains(name)),
            "{left} is left"
        );
    }
    cluster.stop().await.unwrap();
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        all.extend(walk(&path));
        all.push(path);
    }
    all
}
