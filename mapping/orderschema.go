package mapping

// fieldType is the type of a field in SaaSquatch's schemas of purchase and refund.
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

// orderField is a field of the closed schemas of SaaSquatch's reserved events, from its published PurchaseEventFields
// and RefundEventFields. The zero value is no field.
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
	// fieldID is no field of the schema. It replaces a missing product_id.
	fieldID
)

// orderFields holds the name of each field, as the start of a member, and its type.
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

// foldedOrderField returns the field whose name differs only in case and underscores: orderId and ORDERID are
// order_id.
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

// The schemas, as sets of their fields.
const (
	purchaseFields fieldSet = 1<<(fieldProducts+1) - 1<<fieldCheckoutID
	refundFields            = purchaseFields &^
		(1<<fieldCheckoutID | 1<<fieldCoupon | 1<<fieldSubtotal | 1<<fieldDiscount)
	productFields fieldSet = 1<<(fieldID+1) - 1<<fieldProductID | 1<<fieldCoupon
)

// orderWalk iterates over an object's members as fields of a schema.
type orderWalk struct {
	fieldWalk
	schema fieldSet
	// taken holds the fields that the body already has.
	taken fieldSet
	// exact holds the fields that the object has in their exact spelling, once folded is set. Only other spellings
	// need it.
	exact  fieldSet
	folded bool
}

func (e *encoder) orderWalk(b []byte, i int, schema fieldSet) orderWalk {
	return orderWalk{fieldWalk: e.walk(b, i), schema: schema}
}

// next returns the field of the next member and stops at its value; 0 if the member is no field. The caller must set
// w.i behind the value. ok is false at the end. The exact spelling of a field wins, else the first other one that
// fits.
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

// exactFields returns the fields that the object has in their exact spelling. A null counts as absent, and so does an
// unusable product_id.
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
