//! What the kinds of messages, and what they refer to, must be to make sense. Pure.

use std::collections::BTreeSet;

use protocol::content::{Content, References};
use protocol::limits::{MEDIA_REFERENCE_BYTES_MAX, MENTIONS_MAX};
use protocol::media::{self, SHA256_BYTES};
use protocol::wire::{Media, Pose, pose};
use protocol::{ErrorCode, Refusal, SequenceNumber};

/// Whether it is whole. Words, and what a planner writes, are their reader's to understand.
pub(super) fn check(said: &Content) -> Result<(), Refusal> {
    match said {
        Content::Media(media) => check_media(media),
        Content::Pose(pose) => check_pose(pose),
        Content::Text(_)
        | Content::Data(_)
        | Content::Instruction(_)
        | Content::Plan(_)
        | Content::Command(_)
        | Content::StepUpdate(_)
        | Content::Summary(_)
        | Content::Membership(_)
        | Content::Recall(_)
        | Content::Edit(_)
        | Content::Group(_)
        | Content::Estop(_)
        | Content::EstopRelease(_) => Ok(()),
    }
}

fn check_media(media: &Media) -> Result<(), Refusal> {
    let reference = &media.reference;
    let fits = (1..=MEDIA_REFERENCE_BYTES_MAX).contains(&reference.len());
    if !fits || reference.chars().any(char::is_control) {
        return Err(Refusal::bad_request(format!(
            "media.reference: 1 to {MEDIA_REFERENCE_BYTES_MAX} bytes, and no control characters"
        )));
    }
    media::check_words(&media.media_type, &media.name)?;
    if ![0, SHA256_BYTES].contains(&media.sha256.len()) {
        return Err(Refusal::bad_request("media.sha256: 32 bytes, or none"));
    }
    Ok(())
}

fn check_pose(pose: &Pose) -> Result<(), Refusal> {
    let mut numbers = Vec::with_capacity(8);
    match &pose.place {
        Some(pose::Place::OnMap(place)) => {
            numbers.extend([place.x, place.y, place.theta]);
            numbers.extend(place.localization_score);
            numbers.extend(place.deviation_range);
        }
        Some(pose::Place::OnEarth(place)) => {
            numbers.extend([place.latitude, place.longitude]);
            numbers.extend(place.altitude);
            if place.latitude.abs() > 90.0 || place.longitude.abs() > 180.0 {
                return Err(Refusal::bad_request("pose.on_earth: not on it"));
            }
        }
        None => return Err(Refusal::bad_request("pose.place: missing")),
    }
    if let Some(velocity) = &pose.velocity {
        numbers.extend([velocity.vx, velocity.vy, velocity.omega]);
    }
    if numbers.iter().all(|number| number.is_finite()) {
        return Ok(());
    }
    Err(Refusal::bad_request("pose: a number that is none"))
}

/// The entry that it answers; whom it mentions is bounded, and each is there once.
pub(super) fn references(refers: &References) -> Result<Option<SequenceNumber>, Refusal> {
    if refers.mentions.len() > MENTIONS_MAX {
        return Err(Refusal::new(
            ErrorCode::LimitReached,
            format!("mentions: at most {MENTIONS_MAX}"),
        ));
    }
    // Most mention nobody.
    if !refers.mentions.is_empty() {
        let once: BTreeSet<_> = refers.mentions.iter().collect();
        if once.len() != refers.mentions.len() || refers.mentions.iter().any(|it| it.0 == 0) {
            return Err(Refusal::bad_request("mentions: each account once"));
        }
    }
    Ok(refers.reply_to)
}

#[cfg(test)]
mod tests {
    use protocol::AccountId;
    use protocol::wire::{EarthPlace, MapPlace, Velocity};

    use super::*;

    fn media(change: impl FnOnce(&mut Media)) -> Option<ErrorCode> {
        let mut media = Media {
            reference: "m/1".into(),
            media_type: "image/png".into(),
            bytes: 10,
            sha256: vec![7; SHA256_BYTES].into(),
            name: "现场.png".into(),
            caption: "左边\n这一箱".into(),
        };
        change(&mut media);
        check(&Content::Media(media)).err().map(|why| why.code)
    }

    #[test]
    fn a_media_names_what_can_be_fetched() {
        let no = Some(ErrorCode::BadRequest);
        assert_eq!(media(|_| {}), None);
        assert_eq!(media(|it| it.sha256 = Default::default()), None);
        assert_eq!(media(|it| it.sha256 = vec![7; 20].into()), no);
        assert_eq!(media(|it| it.reference.clear()), no);
        assert_eq!(media(|it| it.media_type = "x".repeat(200)), no);
        assert_eq!(media(|it| it.name = "a\nb".into()), no);
    }

    fn pose(pose: Pose) -> Option<ErrorCode> {
        check(&Content::Pose(pose)).err().map(|why| why.code)
    }

    #[test]
    fn a_pose_is_somewhere() {
        let on_map = |x, score| Pose {
            place: Some(pose::Place::OnMap(MapPlace {
                map_id: "一楼".into(),
                x,
                localization_score: score,
                ..MapPlace::default()
            })),
            ..Pose::default()
        };
        let on_earth = |latitude, omega| Pose {
            place: Some(pose::Place::OnEarth(EarthPlace {
                latitude,
                longitude: 121.5,
                altitude: None,
            })),
            velocity: Some(Velocity {
                omega,
                ..Velocity::default()
            }),
            ..Pose::default()
        };
        let no = Some(ErrorCode::BadRequest);
        assert_eq!(pose(on_map(1.5, Some(0.9))), None);
        assert_eq!(pose(on_map(f64::NAN, None)), no);
        assert_eq!(pose(on_map(1.0, Some(f64::INFINITY))), no);
        assert_eq!(pose(on_earth(31.2, 0.1)), None);
        assert_eq!(pose(on_earth(91.0, 0.1)), no);
        assert_eq!(pose(on_earth(31.2, f64::NAN)), no);
        assert_eq!(pose(Pose::default()), no);
    }

    #[test]
    fn mentions_are_bounded_and_each_is_there_once() {
        let of = |ids: &[u64]| {
            references(&References {
                mentions: ids.iter().copied().map(AccountId).collect(),
                reply_to: Some(SequenceNumber(3)),
            })
        };
        assert_eq!(of(&[1, 2]), Ok(Some(SequenceNumber(3))));
        assert!(of(&[1, 1]).is_err() && of(&[0]).is_err());
        let many: Vec<u64> = (1..=MENTIONS_MAX as u64 + 1).collect();
        assert_eq!(of(&many).unwrap_err().code, ErrorCode::LimitReached);
    }
}
