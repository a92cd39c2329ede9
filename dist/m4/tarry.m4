divert(-1)
#
# What a sendmail.mc says about the greeting, read by GNU m4 instead of Sendmail's own macros. `tarry mc` has this file in it, and feeds it to m4 before the
# user's file, which is read unchanged. Nothing here needs Sendmail.
#
# Two streams leave m4, both in frames: byte 1, a kind, byte 2, a text, byte 3.
#   stdout  what the file says ("facts"), all behind the file's own text, in a diversion that no file uses by accident; the last one is "end"
#   stderr  "say" (a message of Sendmail's, as it is), "note" (one of ours, with file and line), "want" (an include that has to be looked at first), "fatal"
#
# Sendmail's macros come into three groups: those that mean something here, those that begin a section of plain sendmail.cf text, and those that are skipped
# and named. What m4 could do to the system is taken away: running programs, writing files, and reading a file before it was found to be one.
#
define(`tarry_define', defn(`define'))
define(`tarry_divert', defn(`divert'))
define(`tarry_undivert', defn(`undivert'))
define(`tarry_include', defn(`include'))
define(`tarry_errprint', defn(`errprint'))
define(`tarry_ifelse', defn(`ifelse'))
define(`tarry_ifdef', defn(`ifdef'))
define(`tarry_shift', defn(`shift'))
define(`tarry_defn', defn(`defn'))
define(`tarry_1', format(`%c', 1))
define(`tarry_2', format(`%c', 2))
define(`tarry_3', format(`%c', 3))

# ---- frames ----

# tarry_tell(kind, text): to stderr.
define(`tarry_tell', `tarry_errprint(tarry_1`$1'tarry_2`$2'tarry_3)')
define(`tarry_say', `tarry_tell(`say', `$1')')
define(`tarry_note', `tarry_errprint(tarry_1`note'tarry_2`'__file__:__line__`: $1'tarry_3)')

# tarry_fact(kind, text): to stdout; the text is expanded once more, as it would be on its way into a sendmail.cf. tarry_raw: it is not.
define(`tarry_fact', `pushdef(`tarry_was', divnum)tarry_divert(1000000)tarry_1`$1'tarry_2`'$2
tarry_3
tarry_divert(tarry_was)popdef(`tarry_was')')
define(`tarry_raw', `pushdef(`tarry_was', divnum)tarry_divert(1000000)tarry_1`$1'tarry_2`$2'
tarry_3
tarry_divert(tarry_was)popdef(`tarry_was')')

# ---- what is skipped is named ----

define(`tarry_skip', `tarry_raw(`skip', `$1')')
# tarry_called(name, number of arguments, first argument): a bare name in running text is only a word.
define(`tarry_called', `tarry_ifelse(`$2', `0', ``$1'', `tarry_skip(`$1')')')
define(`tarry_called_for', `tarry_ifelse(`$2', `0', ``$1'', `tarry_skip(`$1(`$3')')')')

# ---- features ----

define(`FEATURE', `tarry_ifelse($#, `0', ``FEATURE'', `tarry_feature($@)')')
define(`tarry_feature', `tarry_ifdef(`tarry_feature_$1', `indir(`tarry_feature_$1', tarry_shift($@))', `tarry_skip(`FEATURE(`$1')')')')

define(`tarry_feature_greet_pause', `tarry_ifelse(`$1', `', `tarry_ifdef(`tarry_has_access', `',
	`tarry_say(`*** ERROR: FEATURE(`greet_pause') requires FEATURE(`access_db')
')')')tarry_ifdef(`tarry_has_pause', `', `tarry_define(`tarry_has_pause')tarry_fact(`greet_pause', `$1')tarry_raw(`greet_pause_keys',
	tarry_ifdef(`tarry_has_access', `yes', `no'))')')

define(`tarry_feature_access_db', `tarry_define(`tarry_has_access')tarry_ifelse(
	`$1', `', `tarry_fact(`access_db', `DATABASE_MAP_TYPE -T<TMPF> MAIL_SETTINGS_DIR`'access')',
	`$1', `LDAP', `tarry_fact(`access_db_ldap', `tarry_ifdef(`confLDAP_CLUSTER', `confLDAP_CLUSTER')')',
	`tarry_ifelse(index(`$1', `-T<TMPF>'), `-1',
	`tarry_say(`*** WARNING: missing -T<TMPF> in argument of FEATURE(`access_db', $1)
')')tarry_fact(`access_db', `$1')')tarry_ifdef(`tarry_has_pause',
	`tarry_say(`*** WARNING: FEATURE(`greet_pause') before FEATURE(`access_db')
	greet_pause will not use access_db!')')tarry_access_options(tarry_shift($@))')
define(`tarry_access_options', `tarry_ifelse(`$1', `', `', `$1', `skip', `tarry_raw(`access_skip')', `$1', `lookupdotdomain', `tarry_raw(`lookup_dot_domain')',
	`tarry_skip(`$1 of FEATURE(`access_db')')')tarry_ifelse(eval($# > 1), `1', `tarry_access_options(tarry_shift($@))')')

define(`tarry_feature_lookupdotdomain', `tarry_ifdef(`tarry_has_access', `tarry_raw(`lookup_dot_domain')',
	`tarry_say(`*** ERROR: FEATURE(`lookupdotdomain') requires FEATURE(`access_db')
')')')

# The first letter counts, in either case. With both, Sendmail's rules let everybody through but HATER recipients, so hater it is.
define(`tarry_feature_delay_checks', `tarry_define(`tarry_has_delay')tarry_delay(translit(substr(`$1', 0, 1), `FH', `fh'))')
define(`tarry_delay', `tarry_ifelse(`$1', `', `tarry_raw(`delay_checks', `on')',
	`$1', `f', `tarry_friend_or_hater(`friend')',
	`$1', `h', `tarry_friend_or_hater(`hater')',
	`tarry_raw(`delay_checks', `on')tarry_say(`*** ERROR: illegal argument _ARG_ for FEATURE(delay_checks)
')')')
define(`tarry_friend_or_hater', `tarry_define(`tarry_has_$1')tarry_raw(`delay_checks', `$1')')

define(`tarry_feature_ratecontrol', `tarry_control(`ratecontrol', $@)')
define(`tarry_feature_conncontrol', `tarry_control(`conncontrol', $@)')
define(`tarry_control', `tarry_ifdef(`tarry_has_access', `tarry_raw(`$1', `on')tarry_control_when(`$1', `$2')tarry_control_how(`$1', `$3')',
	`tarry_say(`*** ERROR: FEATURE(`$1') requires FEATURE(`access_db')
')')')
define(`tarry_control_when', `tarry_ifelse(`$2', `', `', `$2', `nodelay', `tarry_ifdef(`tarry_has_delay', `tarry_raw(`$1', `nodelay')',
	`tarry_say(`*** ERROR: FEATURE(`$1', `nodelay') requires FEATURE(`delay_checks')')')',
	`tarry_say(`*** ERROR: unknown parameter "$2" for FEATURE(`$1')')')')
define(`tarry_control_how', `tarry_ifelse(`$2', `', `', `$2', `terminate', `tarry_raw(`$1', `terminate')',
	`tarry_say(`*** ERROR: FEATURE(`$1'): unknown argument "$2"
')')')

define(`tarry_feature_no_default_msa', `tarry_raw(`no_default_msa')')
define(`DAEMON_OPTIONS', `tarry_ifelse($#, `0', ``DAEMON_OPTIONS'', `tarry_fact(`daemon', `$1')')')

# ---- sections of plain text ----

define(`tarry_section', `tarry_divert($2)tarry_1`section'tarry_2`$1'tarry_3
')
define(`LOCAL_NET_CONFIG', `tarry_section(`LOCAL_NET_CONFIG', 1)')
define(`LOCAL_RULE_3', `tarry_section(`LOCAL_RULE_3', 2)')
define(`LOCAL_RULE_0', `tarry_section(`LOCAL_RULE_0', 3)')
define(`LOCAL_RULE_1', `tarry_section(`LOCAL_RULE_1', 4)')
define(`LOCAL_RULE_2', `tarry_section(`LOCAL_RULE_2', 5)')
define(`LOCAL_CONFIG', `tarry_section(`LOCAL_CONFIG', 6)')
define(`MAILER_DEFINITIONS', `tarry_section(`MAILER_DEFINITIONS', 7)')
define(`LOCAL_RULESETS', `tarry_section(`LOCAL_RULESETS', 9)')
define(`LOCAL_SRV_FEATURES', `tarry_section(`LOCAL_SRV_FEATURES', 10)')
define(`LOCAL_TRY_TLS', `tarry_section(`LOCAL_TRY_TLS', 11)')
define(`LOCAL_TLS_RCPT', `tarry_section(`LOCAL_TLS_RCPT', 12)')
define(`LOCAL_TLS_CLIENT', `tarry_section(`LOCAL_TLS_CLIENT', 13)')
define(`LOCAL_TLS_SERVER', `tarry_section(`LOCAL_TLS_SERVER', 14)')

# ---- macros without a meaning here ----

define(`VERSIONID', `tarry_ifelse($#, `0', ``VERSIONID'')')
define(`OSTYPE', `tarry_called_for(`OSTYPE', $#, `$1')')
define(`DOMAIN', `tarry_called_for(`DOMAIN', $#, `$1')')
define(`MAILER', `tarry_called_for(`MAILER', $#, `$1')')
define(`HACK', `tarry_called_for(`HACK', $#, `$1')')
define(`SITECONFIG', `tarry_called_for(`SITECONFIG', $#, `$1')')
define(`SITE', `tarry_called(`SITE', $#)')
define(`CLIENT_OPTIONS', `tarry_called(`CLIENT_OPTIONS', $#)')
define(`INPUT_MAIL_FILTER', `tarry_called_for(`INPUT_MAIL_FILTER', $#, `$1')')
define(`MAIL_FILTER', `tarry_called_for(`MAIL_FILTER', $#, `$1')')
define(`TRUST_AUTH_MECH', `tarry_called(`TRUST_AUTH_MECH', $#)')
define(`QUEUE_GROUP', `tarry_called(`QUEUE_GROUP', $#)')
define(`MODIFY_MAILER_FLAGS', `tarry_called(`MODIFY_MAILER_FLAGS', $#)')
define(`MASQUERADE_AS', `tarry_called(`MASQUERADE_AS', $#)')
define(`MASQUERADE_DOMAIN', `tarry_called(`MASQUERADE_DOMAIN', $#)')
define(`MASQUERADE_DOMAIN_FILE', `tarry_called(`MASQUERADE_DOMAIN_FILE', $#)')
define(`MASQUERADE_EXCEPTION', `tarry_called(`MASQUERADE_EXCEPTION', $#)')
define(`MASQUERADE_EXCEPTION_FILE', `tarry_called(`MASQUERADE_EXCEPTION_FILE', $#)')
define(`EXPOSED_USER', `tarry_called(`EXPOSED_USER', $#)')
define(`EXPOSED_USER_FILE', `tarry_called(`EXPOSED_USER_FILE', $#)')
define(`LOCAL_USER', `tarry_called(`LOCAL_USER', $#)')
define(`LOCAL_USER_FILE', `tarry_called(`LOCAL_USER_FILE', $#)')
define(`LOCAL_DOMAIN', `tarry_ifelse($#, `0', ``LOCAL_DOMAIN'', `tarry_fact(`local_domain', `$1')')')
define(`LOCAL_UUCP', `tarry_called(`LOCAL_UUCP', $#)')
define(`RELAY_DOMAIN', `tarry_called(`RELAY_DOMAIN', $#)')
define(`RELAY_DOMAIN_FILE', `tarry_called(`RELAY_DOMAIN_FILE', $#)')
define(`CANONIFY_DOMAIN', `tarry_called(`CANONIFY_DOMAIN', $#)')
define(`CANONIFY_DOMAIN_FILE', `tarry_called(`CANONIFY_DOMAIN_FILE', $#)')
define(`GENERICS_DOMAIN', `tarry_called(`GENERICS_DOMAIN', $#)')
define(`GENERICS_DOMAIN_FILE', `tarry_called(`GENERICS_DOMAIN_FILE', $#)')
define(`VIRTUSER_DOMAIN', `tarry_called(`VIRTUSER_DOMAIN', $#)')
define(`VIRTUSER_DOMAIN_FILE', `tarry_called(`VIRTUSER_DOMAIN_FILE', $#)')
define(`LDAPROUTE_DOMAIN', `tarry_called(`LDAPROUTE_DOMAIN', $#)')
define(`LDAPROUTE_DOMAIN_FILE', `tarry_called(`LDAPROUTE_DOMAIN_FILE', $#)')
define(`LDAPROUTE_EQUIVALENT', `tarry_called(`LDAPROUTE_EQUIVALENT', $#)')
define(`LDAPROUTE_EQUIVALENT_FILE', `tarry_called(`LDAPROUTE_EQUIVALENT_FILE', $#)')
define(`UUCPSMTP', `tarry_called(`UUCPSMTP', $#)')
define(`DECNET_GATEWAY', `tarry_called(`DECNET_GATEWAY', $#)')
define(`DOL', `tarry_ifelse($#, `0', ``DOL'', ``$'$1')')
define(`PUSHDIVERT', `pushdef(`tarry_pushed', divnum)tarry_divert($1)')
define(`POPDIVERT', `tarry_divert(tarry_pushed)popdef(`tarry_pushed')')
define(`CONCAT', `$1$2$3$4$5$6$7$8$9')

# ---- definitions ----

# What a file may lean on.
define(`_CF_DIR_', `/usr/share/sendmail/cf/')
define(`MAIL_SETTINGS_DIR', `/etc/mail/')
define(`DATABASE_MAP_TYPE', `hash')
define(`sm_version', `8.17.1')
define(`sm_version_math', `528641')

# tarry_candidate(NAME): the file's text has a define(NAME). Whether it comes to that is known at its end, and then NAME is named. So `define' itself is m4's own.
define(`tarry_candidates')
define(`tarry_candidate', `tarry_ifdef(`$1', `', `tarry_ifdef(`tarry_known_$1', `', `tarry_define(`tarry_candidates',
	tarry_defn(`tarry_candidates')`tarry_named(`$1')')')')')
define(`tarry_named', `tarry_ifdef(`$1', `tarry_skip(`define(`$1')')')')
define(`tarry_known_confLDAP_CLUSTER')

# tarry_conf(kind, NAME): what NAME is when the file has ended; Sendmail looks at it no sooner.
define(`tarry_conf', `tarry_ifdef(`$2', `tarry_fact(`$1', `$2')')')
define(`tarry_confs', `tarry_conf(`hostname', `confDOMAIN_NAME')tarry_conf(`smtp_login_msg', `confSMTP_LOGIN_MSG')tarry_conf(`reject_msg', `confREJECT_MSG')
tarry_conf(`rate_window', `confCONNECTION_RATE_WINDOW_SIZE')tarry_conf(`max_children', `confMAX_DAEMON_CHILDREN')tarry_conf(`to_command', `confTO_COMMAND')
tarry_conf(`ldap_spec', `confLDAP_DEFAULT_SPEC')tarry_conf(`bad_rcpts', `confBAD_RCPT_THROTTLE')')
define(`tarry_known_confDOMAIN_NAME')
define(`tarry_known_confSMTP_LOGIN_MSG')
define(`tarry_known_confREJECT_MSG')
define(`tarry_known_confCONNECTION_RATE_WINDOW_SIZE')
define(`tarry_known_confMAX_DAEMON_CHILDREN')
define(`tarry_known_confTO_COMMAND')
define(`tarry_known_confLDAP_DEFAULT_SPEC')
define(`tarry_known_confBAD_RCPT_THROTTLE')

# The end: quotes and comments are what they were, whatever the file has made of them.
m4wrap(`tarry_finish')
define(`tarry_finish', `changequote`'changecom(`#')tarry_divert(-1)tarry_candidates`'tarry_confs`'tarry_last_words`'tarry_raw(`end')')
define(`tarry_last_words', `tarry_ifdef(`tarry_has_access', `', `tarry_ifdef(`tarry_has_friend', `tarry_no_access_to_ask()',
	`tarry_ifdef(`tarry_has_hater', `tarry_no_access_to_ask()')')')tarry_ifdef(`tarry_has_friend', `tarry_ifdef(`tarry_has_hater',
	`tarry_say(`*** ERROR: define either Hater or Friend -- not both.
')')')')
define(`tarry_no_access_to_ask', `tarry_say(`*** ERROR: FEATURE(`delay_checks', `argument') requires FEATURE(`access_db')
')')

# ---- what m4 may not do ----

define(`tarry_run', `tarry_note(`$1 is not run; it counts as empty')')
define(`syscmd', `tarry_ifelse($#, `0', ``syscmd'', `tarry_run(`syscmd')')')
define(`esyscmd', `tarry_ifelse($#, `0', ``esyscmd'', `tarry_run(`esyscmd')')')
undefine(`builtin', `maketemp', `mkstemp', `debugfile')

# undivert reads files, too: numbers only; bare, it must not bring the facts out early.
define(`undivert', `tarry_ifelse(`$*', `', `tarry_ifelse($#, `0', `tarry_undivert(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14)')',
	`tarry_undivert_one($@)')')
define(`tarry_undivert_one', `tarry_ifelse(regexp(`$1', `^[0-9]?[0-9]?[0-9]$'), `0', `tarry_undivert(`$1')',
	`tarry_note(`undivert of a file is not done')')tarry_ifelse($#, `1', `', `tarry_undivert_one(tarry_shift($@))')')

# A file is included when `tarry mc` has looked at it: it then begins m4 anew, with tarry_file:PATH defined. Sendmail's own cf.m4 is what this file stands for.
define(`tarry_files', `0')
define(`tarry_want', `tarry_ifdef(`tarry_wanted:$1:$2', `', `tarry_define(`tarry_wanted:$1:$2')tarry_errprint(tarry_1`want'tarry_2`$1'
__file__:__line__
`$2'tarry_3)tarry_ifelse(`$1', `include', `tarry_skip(`include(`$2')')')')')
define(`tarry_try', `tarry_define(`tarry_files', incr(tarry_files))tarry_ifelse(eval(tarry_files > 256), `1',
	`tarry_errprint(tarry_1`fatal'tarry_2`'__file__:__line__`: more than 256 files included; does one include itself?'tarry_3)m4exit(`65')',
	regexp(`$2', `\(^\|/\)cf\.m4$'), `-1', `tarry_ifdef(`tarry_file:$2', `tarry_include(`$2')', `tarry_want(`$1', `$2')')')')
define(`sinclude', `tarry_ifelse($#, `0', ``sinclude'', `tarry_try(`sinclude', `$1')')')
define(`include', `tarry_ifelse($#, `0', ``include'', `tarry_try(`include', `$1')')')
