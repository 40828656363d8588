/* manual.c - main.cf(5) in mdoc, made of the parameter table. */
#include "tools/dakconf/dakconf.h"

#include <stdlib.h>

static const char head[] =
	".\\\" Made by `dakconf --mdoc` from lib/conf/parameters/: do not edit.\n"
	".Dd November 24, 2026\n"
	".Dt MAIN.CF 5\n"
	".Os Dakiya\n"
	".Sh NAME\n"
	".Nm main.cf\n"
	".Nd the parameters of the mail system\n"
	".Sh DESCRIPTION\n"
	"One parameter a line,\n"
	".Ql name = value .\n"
	"A line that begins with white space continues the one before, also across comments and\n"
	"empty lines.\n"
	"A line whose first non-blank is\n"
	".Ql #\n"
	"is a comment; there are no comments behind a value.\n"
	"The order is of no importance; of a name that stands there twice the last one counts.\n"
	"After a change:\n"
	".Ql dakiya check ,\n"
	"then\n"
	".Ql dakiya reload .\n"
	"A misspelt name is an error, and the running mail system keeps its old configuration.\n"
	".Ss Expansion\n"
	".Bl -tag -width Ds\n"
	".It Li $name , ${name} , $(name)\n"
	"The value of another parameter, or of a name of your own.\n"
	".It Li ${name?{text}} , ${name:{text}} , ${name?{text}:{other}}\n"
	"The text when the value is not empty; when it is empty; one or the other.\n"
	".It Li \"${{a} == {b} ? {text} : {other}}\"\n"
	"By a comparison: == != < <= > >= compare numbers as numbers and all else as text;\n"
	"<level, <=level, >level and >=level compare levels like 3.6.\n"
	".It Li $$\n"
	"A dollar.\n"
	".El\n"
	".Ss Values\n"
	"Lists are separated by white space or commas; braces protect blanks.\n"
	"Times are a number with s, m, h, d or w behind it.\n"
	"A table is\n"
	".Ar type : Ns Ar name ;\n"
	"see\n"
	".Xr dakmap 1 .\n"
	"A default with\n"
	".Li ${stress?{a}:{b}}\n"
	"is a while the server is overloaded.\n"
	".Ss Per service and per transport\n"
	".Ql -o name=value\n"
	"in\n"
	".Xr master.cf 5\n"
	"sets a parameter for one service.\n"
	"Every\n"
	".Li default_ Ns Ar x\n"
	"parameter of deliveries has a form\n"
	".Ar transport Ns Li _ Ns Ar x\n"
	"for each service of master.cf, for example\n"
	".Li relay_destination_rate_delay .\n"
	".Sh PARAMETERS\n"
	".Bl -tag -width Ds\n";

static const char tail[] = ".El\n"
			   ".Sh SEE ALSO\n"
			   ".Xr dakconf 1 ,\n"
			   ".Xr master.cf 5 ,\n"
			   ".Xr dakiya 8\n";

/* Text within a line: nothing in it is markup. */
static void
print_text(FILE *to, const char *text)
{
	for (size_t i = 0; text[i] != '\0'; i++) {
		if (i == 0 && (text[i] == '.' || text[i] == '\''))
			fputs("\\&", to);
		if (text[i] == '\\')
			fputs("\\e", to);
		else if (text[i] == '-')
			fputs("\\-", to);
		else if (text[i] == ' ' && i > 0 && text[i - 1] == '.')
			fputc('\n', to); /* a sentence begins a line */
		else
			fputc(text[i], to);
	}
}

/* An argument of a macro: quoted, so that no word of it is taken for a macro. */
static void
print_argument(FILE *to, const char *text)
{
	fputc('"', to);
	for (size_t i = 0; text[i] != '\0'; i++) {
		if (text[i] == '"')
			fputs("\\(dq", to);
		else if (text[i] == '\\')
			fputs("\\e", to);
		else if (text[i] == '-')
			fputs("\\-", to);
		else
			fputc(text[i], to);
	}
	fputc('"', to);
}

static const char *
type_words(enum parameter_type type)
{
	switch (type) {
	case PARAMETER_STRING: return NULL;
	case PARAMETER_RAW: return "Expanded when it is used.";
	case PARAMETER_CHOICE: return NULL;
	case PARAMETER_BOOLEAN: return "yes or no.";
	case PARAMETER_INTEGER: return "A number";
	case PARAMETER_SECONDS: return "A time";
	}
	return NULL;
}

static void
print_type(FILE *to, const struct parameter_row *row)
{
	const char *words = type_words(row->type);

	if (row->type == PARAMETER_CHOICE) {
		fputs("One of: ", to);
		print_text(to, row->least);
		if (row->most != NULL)
			fprintf(to, "; an empty value means %s", row->most);
		fputs(".\n", to);
	} else if (words != NULL) {
		fputs(words, to);
		if (row->least != NULL && row->most != NULL)
			fprintf(to, " from %s to %s.", row->least, row->most);
		else if (row->least != NULL)
			fprintf(to, ", at least %s.", row->least);
		fputc('\n', to);
	}
}

static int
compare_rows(const void *left, const void *right)
{
	const struct parameter_row *const *a = left, *const *b = right;

	return strcmp((*a)->name, (*b)->name);
}

static const struct parameter_row **
sorted_rows(void)
{
	const struct parameter_row **rows = calloc(parameter_row_count, sizeof(*rows));

	if (rows == NULL) {
		fprintf(stderr, "dakconf: out of memory\n");
		exit(EXIT_FAILURE);
	}
	for (size_t i = 0; i < parameter_row_count; i++)
		rows[i] = &parameter_rows[i];
	qsort(rows, parameter_row_count, sizeof(*rows), compare_rows);
	return rows;
}

void
manual_print(FILE *to)
{
	const struct parameter_row **rows = sorted_rows();

	fputs(head, to);
	for (size_t i = 0; i < parameter_row_count; i++) {
		fprintf(to, ".It Va %s No = Li ", rows[i]->name);
		print_argument(to, rows[i]->standard);
		fputc('\n', to);
		print_text(to, rows[i]->meaning);
		fputc('\n', to);
		print_type(to, rows[i]);
	}
	fputs(tail, to);
	free(rows);
}
