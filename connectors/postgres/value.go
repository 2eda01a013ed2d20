package postgres

import (
	"encoding/json"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/leadrelay/leadrelay/connectors"
)

// parameter is a field's value as the text that the server reads as the column's type; see Values in the package
// comment. nil is NULL.
func (c column) parameter(value any) []byte {
	isJSON, isArray := c.typeName == "json" || c.typeName == "jsonb", c.category == arrayCategory
	list, isList := value.([]any)
	text := connectors.CellText(value)
	switch {
	case text == "" && !(isList && (isJSON || isArray)): // an empty list is something where there are lists
		if c.notNull && c.category == stringCategory {
			return []byte{}
		}
		return nil
	case isJSON:
		return encode(value)
	case isArray && isList:
		return arrayOf(list...)
	case isArray:
		return arrayOf(value)
	}
	return []byte(text)
}

// noNUL takes the escape of U+0000 from encoded JSON, and an escaped backslash for what it is.
var noNUL = strings.NewReplacer(`\\`, `\\`, `\u0000`, "")

func encode(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // what was decoded from JSON or YAML always can be
	}
	return []byte(noNUL.Replace(string(text)))
}

// arrayOf writes a list as an array's text, which is the same for arrays of every type.
func arrayOf(list ...any) []byte {
	elements := make([]*string, len(list))
	for i, element := range list {
		if element != nil {
			text := connectors.CellText(element)
			elements[i] = &text
		}
	}
	text, err := pgtype.NewMap().Encode(pgtype.TextArrayOID, pgtype.TextFormatCode, elements, nil)
	if err != nil {
		panic(err) // a list of texts always can be
	}
	return text
}
