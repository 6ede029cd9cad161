package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/big"
	"strings"
)

// mutant is one change of one file that still has a chance to compile.
type mutant struct {
	file       string // relative to the module, with slashes
	function   string // Values, or flight.run; empty for a declaration outside of functions
	kind       string
	from, to   int // the bytes that are replaced
	old, with  string
	change     string // what is changed, in one line
	line       int
	occurrence int // counts the mutants of the file that are otherwise called the same
}

// name identifies a mutant, whatever lines are added or taken away elsewhere.
func (m *mutant) name() string {
	name := m.file + ": " + m.function + ": " + m.change
	if m.occurrence > 1 {
		name += fmt.Sprintf(" (%d)", m.occurrence)
	}
	return name
}

// apply returns the source of the file with the change in it.
func (m *mutant) apply(source []byte) []byte {
	changed := make([]byte, 0, len(source)+len(m.with))
	changed = append(changed, source[:m.from]...)
	changed = append(changed, m.with...)
	return append(changed, source[m.to:]...)
}

// finder collects the mutants of a file.
type finder struct {
	file     string
	source   []byte
	set      *token.FileSet
	function string
	results  [][]string // the types of the results of the functions around the node, as they are written
	found    []*mutant
}

// find returns the mutants of a file in the order in which they stand there. What is
// generated has none.
func find(file string, source []byte) ([]*mutant, error) {
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, file, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	if ast.IsGenerated(tree) {
		return nil, nil
	}
	f := &finder{file: file, source: source, set: set}
	for _, declaration := range tree.Decls {
		if function, ok := declaration.(*ast.FuncDecl); ok {
			if function.Body == nil {
				continue
			}
			f.function = functionName(function)
			f.inFunction(function.Type, function.Body)
			continue
		}
		f.function = "-"
		ast.Walk(f, declaration)
	}
	seen := map[string]int{}
	for _, m := range f.found {
		name := m.name()
		seen[name]++
		m.occurrence = seen[name]
	}
	return f.found, nil
}

func functionName(function *ast.FuncDecl) string {
	if function.Recv == nil || len(function.Recv.List) == 0 {
		return function.Name.Name
	}
	receiver := function.Recv.List[0].Type
	for {
		switch node := receiver.(type) {
		case *ast.StarExpr:
			receiver = node.X
		case *ast.IndexExpr:
			receiver = node.X
		case *ast.IndexListExpr:
			receiver = node.X
		case *ast.Ident:
			return node.Name + "." + function.Name.Name
		default:
			return function.Name.Name
		}
	}
}

func (f *finder) inFunction(signature *ast.FuncType, body *ast.BlockStmt) {
	var results []string
	if signature.Results != nil {
		for _, field := range signature.Results.List {
			for range max(1, len(field.Names)) {
				results = append(results, f.text(field.Type))
			}
		}
	}
	f.results = append(f.results, results)
	ast.Walk(f, body)
	f.results = f.results[:len(f.results)-1]
}

// Visit makes the mutants of a node.
func (f *finder) Visit(node ast.Node) ast.Visitor {
	switch node := node.(type) {
	case *ast.FuncLit:
		f.inFunction(node.Type, node.Body)
		return nil
	case *ast.ImportSpec, *ast.FuncType, *ast.StructType, *ast.InterfaceType, *ast.ArrayType:
		return nil // a type is checked by the compiler
	case *ast.IfStmt:
		f.condition(node)
	case *ast.CaseClause:
		f.clause(node)
	case *ast.CommClause:
		f.empty(node.Body)
	case *ast.BinaryExpr:
		f.operator(node)
	case *ast.BasicLit:
		f.constant(node)
	case *ast.Ident:
		f.boolean(node)
	case *ast.CallExpr:
		if isCapacity(node) {
			return nil
		}
	case *ast.ReturnStmt:
		f.returned(node)
	case *ast.AssignStmt:
		if node.Tok != token.DEFINE {
			f.remove(node)
		}
	case *ast.ExprStmt, *ast.IncDecStmt, *ast.DeferStmt, *ast.GoStmt, *ast.SendStmt:
		f.remove(node)
	case *ast.BranchStmt:
		if node.Tok == token.BREAK || node.Tok == token.CONTINUE {
			f.remove(node)
		}
	case *ast.SwitchStmt:
		f.cases(node)
		return nil
	}
	return f
}

func (f *finder) offset(pos token.Pos) int { return f.set.Position(pos).Offset }

func (f *finder) text(node span) string {
	return string(f.source[f.offset(node.Pos()):f.offset(node.End())])
}

// mostShown bounds, in bytes, how much of a piece of code is in the name of a mutant.
const mostShown = 100

func shorten(code string) string {
	code = strings.Join(strings.Fields(code), " ")
	if len(code) > mostShown {
		return strings.ToValidUTF8(code[:mostShown], "") + "…"
	}
	return code
}

// replace notes a mutant, unless it is a statement in a place where no block may stand.
func (f *finder) replace(change string, node span, with string) {
	m := &mutant{
		file: f.file, function: f.function, change: change, with: with,
		from: f.offset(node.Pos()), to: f.offset(node.End()), line: f.set.Position(node.Pos()).Line,
	}
	m.old = string(f.source[m.from:m.to])
	if _, err := parser.ParseFile(token.NewFileSet(), f.file, m.apply(f.source), parser.SkipObjectResolution); err == nil {
		f.found = append(f.found, m)
	}
}

// span is a node, or several in a row.
type span interface {
	Pos() token.Pos
	End() token.Pos
}

type statements []ast.Stmt

func (s statements) Pos() token.Pos { return s[0].Pos() }
func (s statements) End() token.Pos { return s[len(s)-1].End() }

// unreached is code that nothing reaches, so that what it uses stays used.
func unreached(code string) string { return "if false {\n" + code + "\n}" }

// becomes is how a mutant is called that has other code in the place of some.
func becomes(old, with string) string { return shorten(old) + " => " + shorten(with) }

// condition changes that of an if, and drops its else.
func (f *finder) condition(node *ast.IfStmt) {
	f.decision(node.Cond)
	cond := f.text(node.Cond)
	f.replace("always: "+shorten(cond), node.Cond, "true || ("+cond+")")
	if otherwise, ok := node.Else.(*ast.BlockStmt); ok {
		f.replace("no else: "+shorten(cond), otherwise, "if false "+f.text(otherwise))
	}
}

func (f *finder) decision(cond ast.Expr) {
	text := f.text(cond)
	f.replace("never: "+shorten(text), cond, "false && ("+text+")")
	if binary, ok := cond.(*ast.BinaryExpr); ok && (binary.Op == token.EQL || binary.Op == token.NEQ) {
		return // its operator is changed anyway
	}
	f.replace("not: "+shorten(text), cond, "!("+text+")")
}

// cases is Visit for a switch: in one without a tag a case is a condition.
func (f *finder) cases(node *ast.SwitchStmt) {
	if node.Tag != nil {
		ast.Walk(f, node.Tag)
	}
	for _, statement := range node.Body.List {
		clause, ok := statement.(*ast.CaseClause)
		if !ok {
			continue
		}
		if node.Tag == nil {
			for _, cond := range clause.List {
				f.decision(cond)
				ast.Walk(f, cond)
			}
			for _, statement := range clause.Body {
				ast.Walk(f, statement)
			}
			continue
		}
		ast.Walk(f, clause)
	}
}

// clause drops a case with a value or a type, and what is done in it.
func (f *finder) clause(node *ast.CaseClause) {
	if len(node.List) > 0 {
		f.replace("no case: "+shorten(f.text(node)), node, "")
	}
	f.empty(node.Body)
}

func (f *finder) empty(body statements) {
	if len(body) > 0 {
		f.replace("empty case: "+shorten(f.text(body)), body, unreached(f.text(body)))
	}
}

var operators = map[token.Token]token.Token{
	token.LAND: token.LOR, token.LOR: token.LAND,
	token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR,
	token.EQL: token.NEQ, token.NEQ: token.EQL,
	token.ADD: token.SUB, token.SUB: token.ADD, token.MUL: token.QUO, token.QUO: token.MUL,
	token.SHL: token.SHR, token.SHR: token.SHL, token.AND: token.OR, token.OR: token.AND,
}

func (f *finder) operator(node *ast.BinaryExpr) {
	if node.Op == token.ADD && (isString(node.X) || isString(node.Y)) {
		return
	}
	with, ok := operators[node.Op]
	if !ok {
		return
	}
	old := f.text(node)
	f.replace(shorten(old)+": "+node.Op.String()+" => "+with.String(), node, "(("+f.text(node.X)+") "+with.String()+" ("+f.text(node.Y)+"))")
}

func isString(node ast.Expr) bool {
	switch node := node.(type) {
	case *ast.BasicLit:
		return node.Kind == token.STRING
	case *ast.BinaryExpr:
		return isString(node.X) || isString(node.Y)
	}
	return false
}

// isCapacity reports whether a call makes room that only time depends on.
func isCapacity(node *ast.CallExpr) bool {
	name, ok := node.Fun.(*ast.Ident)
	if !ok || name.Name != "make" || len(node.Args) < 2 {
		return false
	}
	_, isMap := node.Args[0].(*ast.MapType)
	return isMap || len(node.Args) > 2
}

// literal is for a constant, which says little without the line that it stands in.
func (f *finder) literal(node ast.Expr, with string) {
	at := f.offset(node.Pos())
	start := strings.LastIndexByte(string(f.source[:at]), '\n') + 1
	line, _, _ := strings.Cut(string(f.source[start:]), "\n")
	f.replace(becomes(f.text(node), with)+" in "+shorten(line), node, with)
}

func (f *finder) constant(node *ast.BasicLit) {
	value, ok := new(big.Int).SetString(node.Value, 0)
	if node.Kind != token.INT || !ok {
		return
	}
	one := big.NewInt(1)
	f.literal(node, new(big.Int).Add(value, one).String())
	f.literal(node, "("+new(big.Int).Sub(value, one).String()+")")
}

func (f *finder) boolean(node *ast.Ident) {
	switch node.Name {
	case "true":
		f.literal(node, "false")
	case "false":
		f.literal(node, "true")
	}
}

func (f *finder) remove(node ast.Node) {
	f.replace("remove: "+shorten(f.text(node)), node, unreached(f.text(node)))
}

// returned makes each result its zero value, and a bool its opposite.
func (f *finder) returned(node *ast.ReturnStmt) {
	if len(f.results) == 0 {
		return
	}
	types := f.results[len(f.results)-1]
	instead := func(values []string) {
		with := "return " + strings.Join(values, ", ")
		f.replace(becomes(f.text(node), with), node, unreached(f.text(node))+"\n"+with)
	}
	switch {
	case len(types) == 0:
		f.remove(node)
	case len(node.Results) != len(types): // the named ones, or those of a call
		instead(zeros(types))
	default:
		values := make([]string, len(types))
		for i, result := range node.Results {
			values[i] = f.text(result)
		}
		for i, kind := range types {
			with := zero(kind)
			switch values[i] {
			case "nil", "0", `""`, "false", "true", kind + "{}":
				continue // zero already, or mutated as a constant
			}
			if kind == "bool" {
				with = "!(" + values[i] + ")"
			}
			changed := append([]string{}, values...)
			changed[i] = with
			instead(changed)
		}
	}
}

func zeros(types []string) []string {
	values := make([]string, len(types))
	for i, kind := range types {
		values[i] = zero(kind)
	}
	return values
}

func zero(kind string) string {
	if kind == "error" {
		return "nil"
	}
	return "*new(" + kind + ")"
}
