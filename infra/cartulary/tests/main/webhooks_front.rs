//! Webhooks as a tenant sees them through the front door of a whole engine, and over TLS.

use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use api::port::Webhooks;
use cartulary::cli::Bearer;
use domain::shared::{Principal, Role};
use outside::webhooks::Line;
use platform::clock::new_id;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_rustls::TlsAcceptor;

use crate::house::{FrontDoor, Got, Sent};
use crate::receiver::Receiver;
use crate::restored::sell;
use crate::server::database;
use crate::shop::{House, eventually, to_this_machine};
use crate::webhooks::{LIMITS, holds, subscribe};

async fn get(house: &FrontDoor, token: &str, path: &str) -> Result<Got> {
    let headers = vec![("authorization".to_owned(), format!("Bearer {token}"))];
    house.send(&Sent { method: "GET".into(), path: path.into(), headers, ..Sent::default() }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_shown_a_secret_is_in_the_log_and_what_is_too_large_is_fetched() -> Result<()> {
    let (house, receiver) = (FrontDoor::open().await?, Receiver::open().await?);
    let tenant = house.tenant().await?.0;
    let bearer = Bearer::of(tenant, Role::Owner);
    let (owner, subscription) = (house.token(&bearer)?, new_id());
    let body = json!({ "subscription": subscription, "url": receiver.url(), "events": ["product.created"], "description": null });
    house.done(&owner, "Subscribe", &body).await?;

    let path = format!("/v1/webhooks/{subscription}/secret");
    let seen = get(&house, &owner, &path).await?;
    ensure!(seen.status == 200, "{}", seen.json());
    let shown: Value = seen.json()["secrets"][0].clone();
    let text = "SELECT meta->'actor' FROM log.events WHERE tenant = $1 AND type = 'webhook.secret_shown'";
    let actors: Vec<Value> = sqlx::query_scalar(text).bind(tenant.uuid()).fetch_all(house.pool()).await?;
    let subject: Principal = bearer.subject;
    assert_eq!(actors, [json!({ "member": subject })]);
    // Nothing that is stored shows it.
    let secret = shown["secret"].as_str().context("a secret")?.trim_start_matches("whsec_").to_owned();
    assert_eq!(tables_with(house.pool(), &secret).await?, Vec::<String>::new());
    assert!(tables_with(house.pool(), &subscription.to_string()).await?.contains(&"log.events".to_owned()));

    let description = "🦀".repeat(5_000);
    let product = json!({
        "product": new_id(), "name": "Mug", "sku": "MUG-1", "price": { "minor": 900, "currency": "USD" },
        "description": description,
    });
    house.done(&owner, "CreateProduct", &product).await?;
    eventually("it arrives", async || Ok(receiver.positions().len() == 1)).await?;
    let message = receiver.got().remove(0);
    let told = message.json();
    assert_eq!((&told["type"], &told["data"]), (&json!("product.created"), &Value::Null));
    assert_eq!(holds(&message, &shown), [true, true]);
    let fetched = get(&house, &owner, told["fetch"].as_str().context("where it is")?).await?.json();
    assert_eq!((&fetched["id"], &fetched["data"]["description"]), (&told["id"], &json!(description)));
    // Another tenant has its own events at these positions, and none of ours.
    let rival = house.tenant().await?.0;
    let rival = house.token(&Bearer::of(rival, Role::Owner))?;
    let theirs = get(&house, &rival, &format!("/v1/events/{}", message.position())).await?;
    ensure!(theirs.status == 404 || theirs.json()["id"] != told["id"], "{}", theirs.json());
    let deliveries = get(&house, &rival, &format!("/v1/webhooks/{subscription}/deliveries")).await?;
    assert_eq!((deliveries.status, &deliveries.json()["deliveries"]), (200, &json!([])));
    house.close().await;
    Ok(())
}

/// The tables of the engine in which a text stands somewhere.
async fn tables_with(pool: &PgPool, text: &str) -> Result<Vec<String>> {
    let tables = "SELECT schemaname || '.' || tablename FROM pg_tables
                  WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(pool).await?;
    let mut found = Vec::new();
    for table in tables {
        let stands = format!("SELECT EXISTS (SELECT FROM {table} AS t WHERE position($1 IN t::text) > 0)");
        if sqlx::query_scalar(&stands).bind(text).fetch_one(pool).await? {
            found.push(table);
        }
    }
    Ok(found)
}

/// A certificate for this machine, as openssl makes it, and who trusts it.
fn certificate() -> Result<(TlsAcceptor, RootCertStore)> {
    let folder = std::env::temp_dir().join(format!("cartulary-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem \
                  -days 2 -subj /CN=receiver -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";
    let made = Command::new("sh").args(["-c", script]).current_dir(&folder).output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let certificate = CertificateDer::from_pem_file(folder.join("cert.pem"))?;
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem"))?;
    std::fs::remove_dir_all(&folder)?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_no_client_auth().with_single_cert(vec![certificate], key)?;
    Ok((TlsAcceptor::from(Arc::new(config)), roots))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_only_a_certificate_for_the_name_that_is_trusted_will_do() -> Result<()> {
    let ((acceptor, roots), (stranger, _)) = (certificate()?, certificate()?);
    let (url, receiver) = (database().await, Receiver::open_at("127.0.0.1", Some(acceptor.clone())).await?);
    // The same certificate under a name that it does not have, and one that nobody trusts under the right name.
    let other = Receiver::open_at("127.0.0.2", Some(acceptor)).await?;
    let stranger = Receiver::open_at("127.0.0.1", Some(stranger)).await?;
    let mut house = House::with_defaults(&url).await?;
    let shop = house.shop(10).await?;
    let line = Line::trusting(Arc::new(to_this_machine()?), roots)?;
    let desk = house.tell_over(LIMITS, Some(line))?;
    let over_tls = |receiver: &Receiver| format!("https://{}/", receiver.address);
    subscribe(&house, &shop, &over_tls(&receiver), &["order.placed"]).await?;
    let refused = [
        subscribe(&house, &shop, &over_tls(&other), &["order.placed"]).await?,
        subscribe(&house, &shop, &over_tls(&stranger), &["order.placed"]).await?,
    ];
    sell(&house, &shop, 2).await?;
    eventually("both arrive", async || Ok(receiver.positions().len() == 2)).await?;
    for subscription in refused {
        eventually("the other fails", async || {
            Ok(!desk.deliveries(shop.tenant, subscription, None, 1).await?.is_empty())
        })
        .await?;
        let made = desk.deliveries(shop.tenant, subscription, None, 1).await?;
        let trouble = "no TLS connection with a certificate for this name that is trusted";
        assert_eq!((made[0].status, made[0].trouble.as_deref()), (None, Some(trouble)));
    }
    assert_eq!((receiver.positions().len(), other.got().len(), stranger.got().len()), (2, 0, 0));
    house.close().await;
    Ok(())
}
