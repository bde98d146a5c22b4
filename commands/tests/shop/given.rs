//! Initial states: a shop that sells mugs and coffee.

use std::num::NonZeroU32;
use std::sync::LazyLock;

use commands::catalogue::{CreateProduct, PublishProduct};
use commands::inventory::{OpenStockItem, ReceiveStock};
use commands::kernel::Refusal;
use commands::loyalty::{EnableProgram, SetEarningRules};
use commands::orders::{PlaceOrder, RecordPayment, WantedLine};
use commands::tenancy::RegisterTenant;
use domain::inventory::StockItem;
use domain::kernel::{Actor, Encoded, Recorded};
use domain::loyalty::{LoyaltyAccount, Rate};
use domain::orders::{Order, OrderStatus};
use domain::shared::{CustomerId, Principal, ProductId, StoreId, TenantId};
use domain::tenancy::Tenant;
use uuid::Uuid;

use super::{Shop, it, open, order, pieces, points, product, usd};

pub(crate) const TENANT: TenantId = TenantId::new(Uuid::from_u128(0x7e4a_0001));
pub(crate) const ADA: CustomerId = CustomerId::new(Uuid::from_u128(0xc0de_0001));
pub(crate) const BEN: CustomerId = CustomerId::new(Uuid::from_u128(0xc0de_0002));
pub(crate) const MUG: u128 = 1;
pub(crate) const COFFEE: u128 = 2;
pub(crate) static STORE: LazyLock<StoreId> = LazyLock::new(|| Tenant::first_store(TENANT));

impl Shop {
    /// An open tenant in the zone of Berlin that sells in dollars.
    pub(crate) fn opened() -> Self {
        let mut shop = Self::empty();
        let operator = Actor::Operator(Principal::new(Uuid::from_u128(99)));
        let registered = shop.send_as(operator, TenantId::PLATFORM, Self::registration());
        assert!(registered.is_ok(), "{registered:?}");
        shop
    }

    pub(crate) fn registration() -> RegisterTenant {
        RegisterTenant {
            tenant: TENANT,
            name: it("Ada's Mugs"),
            subdomain: it("adas-mugs"),
            contact_email: open("office@adas-mugs.example"),
            currency: it("USD"),
            zone: it("Europe/Berlin"),
        }
    }

    /// Ten mugs at 9.00 USD and ten packets of coffee at 12.50 USD are on sale.
    pub(crate) fn stocked() -> Self {
        let mut shop = Self::opened();
        shop.sell(MUG, 900, 10);
        shop.sell(COFFEE, 1250, 10);
        shop
    }

    /// [`Self::stocked`] with one point per dollar and 200 for signing up.
    pub(crate) fn with_points() -> Self {
        let mut shop = Self::stocked();
        let per_minor = NonZeroU32::new(100).expect("a number");
        let purchase = Rate { points: points(1), per_minor };
        shop.done(SetEarningRules { purchase, signup: Some(points(200)), review: Some(points(100)) });
        shop.done(EnableProgram {});
        shop
    }

    pub(crate) fn sell(&mut self, number: u128, minor: i64, on_hand: i64) {
        let (product, name) = (product(number), it(&format!("Thing {number}")));
        let sku = it(&format!("THING-{number}"));
        self.done(CreateProduct { product, name, sku, price: usd(minor), description: None });
        self.done(PublishProduct { product });
        self.done(OpenStockItem { product, store: *STORE });
        self.done(ReceiveStock { item: StockItem::id(product, *STORE), units: pieces(on_hand), reason: None });
    }

    pub(crate) fn place(
        &mut self,
        number: u128,
        lines: impl IntoIterator<Item = (u128, i64)>,
    ) -> Result<Vec<Recorded<Encoded>>, Refusal> {
        self.send_as(Actor::Customer(ADA), TENANT, Self::purchase(number, lines))
    }

    pub(crate) fn purchase(number: u128, lines: impl IntoIterator<Item = (u128, i64)>) -> PlaceOrder {
        let wanted = |(number, count)| WantedLine { product: product(number), quantity: pieces(count) };
        let lines = lines.into_iter().map(wanted).collect();
        PlaceOrder { order: order(number), customer: ADA, store: *STORE, lines }
    }

    /// Places and pays an order of Ada.
    pub(crate) fn paid(&mut self, number: u128, lines: impl IntoIterator<Item = (u128, i64)>) {
        self.place(number, lines).expect("an order");
        let payment = self.payment(number);
        self.done(payment);
    }

    pub(crate) fn payment(&self, number: u128) -> RecordPayment {
        let total = self.order(number).total().expect("an order");
        RecordPayment { order: order(number), amount: total, reference: it("payment") }
    }

    pub(crate) fn order(&self, number: u128) -> Order {
        self.state::<Order>(order(number))
    }

    pub(crate) fn status(&self, number: u128) -> Option<OrderStatus> {
        self.order(number).status().ok()
    }

    /// Units of a product that can be reserved now.
    pub(crate) fn free(&self, number: u128) -> i64 {
        self.item(product(number)).free(self.now)
    }

    /// Available units according to the recorded events: an expired reservation counts until its expiry is recorded.
    pub(crate) fn recorded_available(&self, number: u128) -> i64 {
        self.item(product(number)).free(it("1900-01-01T00:00:00Z"))
    }

    pub(crate) fn item(&self, product: ProductId) -> StockItem {
        self.state::<StockItem>(StockItem::id(product, *STORE))
    }

    pub(crate) fn balance(&self, customer: CustomerId) -> i64 {
        self.state::<LoyaltyAccount>(LoyaltyAccount::id(customer)).balance()
    }
}
