package mapping

// fieldType is how SaaSquatch's schemas of purchase and refund type a field.
type fieldType uint8

const (
	typeString   fieldType = iota + 1
	typeID                 // a string that is not blank
	typeMoney              // a number of at least 0, which revenue_scale multiplies
	typeCurrency           // three capital letters
	typeCount              // an integer of at least 0
	typeInteger            // any integer
	typeProducts
)

// orderField is a field of SaaSquatch's closed schemas of its reserved events, from
// its published PurchaseEventFields and RefundEventFields. The zero value is a field
// that they do not have.
type orderField uint8

const (
	fieldCheckoutID orderField = iota + 1
	fieldOrderID
	fieldAffiliation
	fieldCoupon // of an order and of a product
	fieldSubtotal
	fieldTotal
	fieldRevenue
	fieldShipping
	fieldTax
	fieldDiscount
	fieldCurrency
	fieldProducts

	fieldProductID
	fieldSKU
	fieldCategory
	fieldName
	fieldBrand
	fieldVariant
	fieldPrice
	fieldQuantity
	fieldPosition
	fieldURL
	fieldImageURL
	// fieldID is no field of the schema: it stands in for a product_id.
	fieldID
)

// orderFields has the name of each field, as the start of a member, and its type.
var orderFields = [...]struct {
	member string
	as     fieldType
}{
	fieldCheckoutID:  {`"checkout_id":`, typeString},
	fieldOrderID:     {`"order_id":`, typeString},
	fieldAffiliation: {`"affiliation":`, typeString},
	fieldCoupon:      {`"coupon":`, typeString},
	fieldSubtotal:    {`"subtotal":`, typeMoney},
	fieldTotal:       {`"total":`, typeMoney},
	fieldRevenue:     {`"revenue":`, typeMoney},
	fieldShipping:    {`"shipping":`, typeMoney},
	fieldTax:         {`"tax":`, typeMoney},
	fieldDiscount:    {`"discount":`, typeMoney},
	fieldCurrency:    {`"currency":`, typeCurrency},
	fieldProducts:    {`"products":`, typeProducts},
	fieldProductID:   {`"product_id":`, typeID},
	fieldSKU:         {`"sku":`, typeString},
	fieldCategory:    {`"category":`, typeString},
	fieldName:        {`"name":`, typeString},
	fieldBrand:       {`"brand":`, typeString},
	fieldVariant:     {`"variant":`, typeString},
	fieldPrice:       {`"price":`, typeMoney},
	fieldQuantity:    {`"quantity":`, typeCount},
	fieldPosition:    {`"position":`, typeInteger},
	fieldURL:         {`"url":`, typeString},
	fieldImageURL:    {`"image_url":`, typeString},
}

func orderFieldOf(name []byte) orderField {
	switch string(name) {
	case "checkout_id":
		return fieldCheckoutID
	case "order_id":
		return fieldOrderID
	case "affiliation":
		return fieldAffiliation
	case "coupon":
		return fieldCoupon
	case "subtotal":
		return fieldSubtotal
	case "total":
		return fieldTotal
	case "revenue":
		return fieldRevenue
	case "shipping":
		return fieldShipping
	case "tax":
		return fieldTax
	case "discount":
		return fieldDiscount
	case "currency":
		return fieldCurrency
	case "products":
		return fieldProducts
	case "product_id":
		return fieldProductID
	case "sku":
		return fieldSKU
	case "category":
		return fieldCategory
	case "name":
		return fieldName
	case "brand":
		return fieldBrand
	case "variant":
		return fieldVariant
	case "price":
		return fieldPrice
	case "quantity":
		return fieldQuantity
	case "position":
		return fieldPosition
	case "url":
		return fieldURL
	case "image_url":
		return fieldImageURL
	case "id":
		return fieldID
	}
	return 0
}

// foldedOrderField returns the field whose name is the same but for case and
// underscores: orderId and ORDERID are order_id.
func foldedOrderField(name []byte) orderField {
	var longest [len("affiliation")]byte // without its underscores
	switch folded := foldName(longest[:0], name); string(folded) {
	case "checkoutid":
		return fieldCheckoutID
	case "orderid":
		return fieldOrderID
	case "productid":
		return fieldProductID
	case "imageurl":
		return fieldImageURL
	default:
		return orderFieldOf(folded)
	}
}

// fieldSet is a set of fields.
type fieldSet uint32

func (s fieldSet) has(field orderField) bool { return s&(1<<field) != 0 }
func (s *fieldSet) add(field orderField)     { *s |= 1 << field }

// The schemas, as the fields that each has.
const (
	purchaseFields fieldSet = 1<<(fieldProducts+1) - 1<<fieldCheckoutID
	refundFields            = purchaseFields &^ (1<<fieldCheckoutID | 1<<fieldCoupon | 1<<fieldSubtotal | 1<<fieldDiscount)
	productFields  fieldSet = 1<<(fieldID+1) - 1<<fieldProductID | 1<<fieldCoupon
)

// orderWalk walks an object's members as fields of a schema.
type orderWalk struct {
	fieldWalk
	schema fieldSet
	// taken has the fields that are in the body already.
	taken fieldSet
	// exact has the fields whose exact spelling the object has, once folded is set:
	// only other spellings need to know.
	exact  fieldSet
	folded bool
}

func (e *encoder) orderWalk(b []byte, i int, schema fieldSet) orderWalk {
	return orderWalk{fieldWalk: e.walk(b, i), schema: schema}
}

// next returns the next member's field, 0 if it is none, and leaves the walk at its
// value, which the caller must skip by setting w.i behind it; ok is false behind the
// last. The exact spelling of a field wins, else its first other one that fits.
func (w *orderWalk) next() (field orderField, ok bool) {
	name, ok := w.fieldWalk.next()
	if !ok {
		return 0, false
	}
	if field = orderFieldOf(name); !w.schema.has(field) {
		if field = foldedOrderField(name); !w.schema.has(field) {
			return 0, true
		}
		if !w.folded {
			w.folded, w.exact = true, w.exactFields()
		}
		if w.exact.has(field) {
			return 0, true
		}
	}
	if w.taken.has(field) {
		return 0, true
	}
	return field, true
}

// exactFields returns the fields whose exact spelling the object has. One that is null,
// and a product_id of no use, count as absent.
func (w *orderWalk) exactFields() (exact fieldSet) {
	all := w.e.walk(w.b, w.start-1)
	for {
		name, ok := all.next()
		if !ok {
			return exact
		}
		field, start := orderFieldOf(name), all.i
		all.i = skipValue(all.b, start)
		value := all.b[start:all.i]
		if !w.schema.has(field) || isNullOrAbsent(value) || field == fieldProductID && !w.e.isProductID(value) {
			continue
		}
		exact.add(field)
	}
}
