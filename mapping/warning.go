package mapping

import "math/bits"

// Warning names a change that the mapping makes, or something that it cannot use. The values are a closed set and a
// public contract.
type Warning string

// All warnings, in alphabetical order.
const (
	WarningFieldInvalid        Warning = "field_invalid"
	WarningFieldNameCollision  Warning = "field_name_collision"
	WarningFieldNameEmpty      Warning = "field_name_empty"
	WarningFieldNotInSchema    Warning = "field_not_in_schema"
	WarningMessageIDInvalid    Warning = "message_id_invalid"
	WarningMessageIDMissing    Warning = "message_id_missing"
	WarningNoTimestamp         Warning = "no_timestamp"
	WarningProductsTruncated   Warning = "products_truncated"
	WarningPropertiesNotObject Warning = "properties_not_object"
	WarningSegmentInvalid      Warning = "segment_invalid"
	WarningStringTruncated     Warning = "string_truncated"
	WarningTraitsNotObject     Warning = "traits_not_object"
	WarningValueUnsupported    Warning = "value_unsupported"
)

// warningSet collects warnings without an allocation. Bit i stands for warningNames[i].
type warningSet uint16

const (
	warnFieldInvalid warningSet = 1 << iota
	warnFieldNameCollision
	warnFieldNameEmpty
	warnFieldNotInSchema
	warnMessageIDInvalid
	warnMessageIDMissing
	warnNoTimestamp
	warnProductsTruncated
	warnPropertiesNotObject
	warnSegmentInvalid
	warnStringTruncated
	warnTraitsNotObject
	warnValueUnsupported
)

var warningNames = [...]Warning{
	WarningFieldInvalid,
	WarningFieldNameCollision,
	WarningFieldNameEmpty,
	WarningFieldNotInSchema,
	WarningMessageIDInvalid,
	WarningMessageIDMissing,
	WarningNoTimestamp,
	WarningProductsTruncated,
	WarningPropertiesNotObject,
	WarningSegmentInvalid,
	WarningStringTruncated,
	WarningTraitsNotObject,
	WarningValueUnsupported,
}

// list returns the warnings in alphabetical order; nil if there are none.
func (s warningSet) list() []Warning {
	if s == 0 {
		return nil
	}
	list := make([]Warning, 0, bits.OnesCount16(uint16(s)))
	for i, name := range warningNames {
		if s&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	return list
}
