//! Two people in a group, and what they can say and see there.

use std::time::Duration;

use bench::cluster::Cluster;
use client_sdk::content::{self, Content};
use client_sdk::{Client, ClientConfig, ConversationId, Event, Events, Message, SequenceNumber};

/// How long anything here may take: a killed tier is back long before.
pub(crate) const WAIT: Duration = Duration::from_secs(60);

/// Ana has made the group, Bo is in it.
pub(crate) struct Group {
    pub(crate) conversation: ConversationId,
    pub(crate) ana: Person,
    pub(crate) bo: Person,
}

pub(crate) struct Person {
    pub(crate) client: Client,
    events: Events,
}

impl Person {
    pub(crate) async fn connect(config: ClientConfig) -> Self {
        let (client, events) = Client::connect(config).await.unwrap();
        Self::of(client, events)
    }

    pub(crate) const fn of(client: Client, events: Events) -> Self {
        Self { client, events }
    }

    /// The next text of the conversation.
    pub(crate) async fn hear_text(&mut self, conversation: ConversationId) -> Message {
        loop {
            let heard = self.hear(conversation).await;
            if matches!(heard.content, Content::Text(_)) {
                return heard;
            }
        }
    }

    /// The next message of the conversation.
    pub(crate) async fn hear(&mut self, conversation: ConversationId) -> Message {
        let next = async {
            loop {
                match self.events.next().await {
                    Some(Event::Message(message)) if message.conversation == conversation => {
                        return message;
                    }
                    Some(_) => {}
                    None => panic!("the client has closed"),
                }
            }
        };
        let heard = tokio::time::timeout(WAIT, next).await;
        heard.unwrap_or_else(|_| panic!("nothing was heard; {:?}", self.client.stats()))
    }

    /// Whatever comes next.
    pub(crate) async fn next_event(&mut self) -> Event {
        self.events.next().await.expect("the client is open")
    }

    /// Ends when it has left this conversation.
    pub(crate) async fn left(&mut self, conversation: ConversationId) {
        let leaving = async {
            loop {
                match self.events.next().await {
                    Some(Event::Left { conversation: left }) if left == conversation => return,
                    Some(_) => {}
                    None => panic!("the client has closed"),
                }
            }
        };
        let left = tokio::time::timeout(WAIT, leaving).await;
        left.unwrap_or_else(|_| panic!("still in; {:?}", self.client.stats()));
    }

    /// What it hears up to this number.
    pub(crate) async fn hear_up_to(
        &mut self,
        conversation: ConversationId,
        last: SequenceNumber,
    ) -> Vec<Message> {
        let mut heard: Vec<Message> = Vec::new();
        while heard.last().is_none_or(|message| message.sequence < last) {
            heard.push(self.hear(conversation).await);
        }
        heard
    }
}

impl Group {
    pub(crate) async fn make(cluster: &Cluster) -> Self {
        let ana = Person::connect(cluster.operator("ana").unwrap()).await;
        let bo = Person::connect(cluster.operator("bo").unwrap()).await;
        let conversation = ana
            .client
            .create_group("演示", &[bo.client.account().id])
            .await
            .unwrap();
        Self {
            conversation,
            ana,
            bo,
        }
    }
}

pub(crate) fn text(said: impl Into<String>) -> Content {
    content::text(said)
}

pub(crate) fn said(message: &Message) -> &str {
    let Content::Text(text) = &message.content else {
        panic!("{:?}", message.content);
    };
    &text.text
}
